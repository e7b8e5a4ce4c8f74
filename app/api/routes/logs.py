"""`GET /job/<name>/<id>/logs`: the log of a run."""

import errno
import itertools
import logging
from collections.abc import Callable, Iterator

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import BadRequest

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.operations import Header, Operation, Parameter, SuccessResponse, describe
from app.api.params.client_disconnected import make_disconnect_check
from app.api.params.query_params import check_parameters, read_boolean, read_integer, read_single
from app.auth.actions import Action
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.logs.reader import (
    BrokenLogError,
    LogOptions,
    LogReader,
    NoLogError,
    UnknownAttemptError,
    UnknownContainerError,
)
from app.runs.reader import RunReader

log = logging.getLogger(__name__)

_INTEGERS = {"tailLines": 0, "sinceSeconds": 1, "attempt": 1}
"""The integer parameters, each with its minimum, which the API server sets."""

_BOOLEANS = ("previous", "follow")
_MAX_INT32 = 2**31 - 1

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # otherwise nginx buffers lines
    "X-Content-Type-Options": "nosniff",  # a browser must not render what a container prints as a page
}


_READ = Operation(
    tag="Runs",
    summary="Read a run's log",
    text="What the run's container has printed, byte for byte. If there were several attempts, that of the last one.",
    parameters=(
        *(
            Parameter(
                name=name,
                location="query",
                text=text,
                schema={"type": "integer", "minimum": _INTEGERS[name], "maximum": _MAX_INT32},
                example=example,
            )
            for name, text, example in (
                ("tailLines", "Only the last N lines.", 100),
                ("sinceSeconds", "Only lines of the last N seconds.", None),
                ("attempt", "The log of this attempt; the first is 1.", None),
            )
        ),
        Parameter(
            name="container",
            location="query",
            text="The log of this container or init container of the run, as its definition's template names it. "
            "Without it: of the run's own container.",
            schema={"type": "string"},
            example="fibonacci",
        ),
        Parameter(
            name="previous",
            location="query",
            text="The log of the attempt before the last one. Not together with `follow` or `attempt`.",
            schema={"type": "boolean", "default": False},
        ),
        Parameter(
            name="follow",
            location="query",
            text="Keep sending new output until the run ends.",
            schema={"type": "boolean", "default": False},
        ),
    ),
    successes=(
        SuccessResponse(
            text="The log.",
            content_type="text/plain",
            example="Fibonacci(42) = 267914296\n",
            headers={"Cache-Control": Header(text="A log grows, so do not cache it.", example="no-store")},
        ),
    ),
    errors=(
        BadRequest("follow: must be true or false"),
        *error_examples.RUN,
        UnknownAttemptError("the run has no attempt 3"),
        UnknownContainerError("the run has no such container; it has: fibonacci, fetch-data"),
        NoLogError("the run is queued: it has no pod yet"),
        *error_examples.WAITING,
        *error_examples.API_SERVER,
    ),
    requires_access=True,
)


def logs_blueprint(
    access_control: AccessControl, logs: LogReader, runs: RunReader, limiter: ConcurrencyLimiter
) -> Blueprint:
    """Build the route."""
    blueprint = Blueprint("logs", __name__, url_prefix="/job")

    @blueprint.get("/<name>/<run_id>/logs")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        access = access_control.require(name, Action.READ_LOG, key=run_id)
        definition = access.definition
        options = _read_options(request)
        if access.owner is not None:
            with limiter.acquire():
                runs.check_owner(definition.name, run_id, access.owner)
        if request.method == "HEAD":
            with limiter.acquire():
                logs.check(definition.name, run_id, options)
            return _respond(iter(()))
        disconnected, trust = make_disconnect_check(request), access_control.trust_in_caller(definition)
        pieces = logs.read(definition.name, run_id, options, disconnected, trust=trust)
        first = next(pieces)  # errors are raised here, while the response can still get their status
        response = _respond(_send(itertools.chain([first], pieces), f"{definition.name}/{run_id}", disconnected))
        response.call_on_close(pieces.close)
        return response

    return blueprint


def _respond(pieces: Iterator[bytes]) -> Response:
    return Response(pieces, headers=_HEADERS, content_type="text/plain; charset=utf-8")


def _send(pieces: Iterator[bytes], run: str, disconnected: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the pieces. If the log breaks off, abort the connection, so that the client cannot take it for complete."""
    try:
        yield from pieces
    except BrokenLogError as error:
        if not disconnected():  # else it was ended because the client has left
            log.warning("the log of %s broke off: %s", run, error)
        # The only exception for which gunicorn closes the connection at once and logs no traceback.
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error


def _read_options(request: Request) -> LogOptions:
    """Read the query parameters.

    Raises:
        BadRequest: a parameter is unknown, repeated, invalid, or excluded by another one.
    """
    check_parameters(request, *_INTEGERS, *_BOOLEANS, "container")
    integers = {name: read_integer(request, name, least=least, most=_MAX_INT32) for name, least in _INTEGERS.items()}
    options = LogOptions(
        tail_lines=integers["tailLines"],
        since_seconds=integers["sinceSeconds"],
        attempt=integers["attempt"],
        previous=read_boolean(request, "previous"),
        follow=read_boolean(request, "follow"),
        container=read_single(request, "container"),
    )
    if options.previous and (options.follow or options.attempt is not None):
        raise BadRequest("previous: can't be combined with follow or attempt")
    return options
