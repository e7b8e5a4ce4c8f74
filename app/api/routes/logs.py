"""`GET /job/<name>/<id>/logs`: what a run has printed."""

import errno
import itertools
import logging
from collections.abc import Iterator

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import BadRequest

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.operations import Answer, Header, Operation, Parameter, describe
from app.api.params.client_disconnected import client_disconnected
from app.api.params.query_params import check_parameters, read_integer, read_switch
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.logs.reader import BrokenLogError, LogOptions, LogReader, NoLogError, UnknownAttemptError

log = logging.getLogger(__name__)

_NUMBERS = {"tailLines": 0, "sinceSeconds": 1, "attempt": 1}
"""Parameters whose value is an integer, and the least that each may be: the API server's own bounds."""

_SWITCHES = ("previous", "follow")
_INT32_MOST = 2**31 - 1

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep lines back
    "X-Content-Type-Options": "nosniff",  # what a container prints is no page
}


_READ = Operation(
    tag="Runs",
    summary="Read a run's log",
    text="What its container has printed, as it was printed; of several attempts, the last one's.",
    parameters=(
        *(
            Parameter(
                name=name,
                place="query",
                text=text,
                schema={"type": "integer", "minimum": _NUMBERS[name], "maximum": _INT32_MOST},
                example=example,
            )
            for name, text, example in (
                ("tailLines", "Only so many lines at its end.", 100),
                ("sinceSeconds", "Only what is no older than so many seconds.", None),
                ("attempt", "The log of this attempt, from 1 on.", None),
            )
        ),
        Parameter(
            name="previous",
            place="query",
            text="The log of the attempt before the last one; excludes `follow` and `attempt`.",
            schema={"type": "boolean", "default": False},
        ),
        Parameter(
            name="follow",
            place="query",
            text="Go on with what is printed until the run ends, or the caller leaves.",
            schema={"type": "boolean", "default": False},
        ),
    ),
    answers=(
        Answer(
            text="The log.",
            content_type="text/plain",
            example="Fibonacci(42) = 267914296\n",
            headers={"Cache-Control": Header(text="A log grows.", example="no-store")},
        ),
    ),
    errors=(
        BadRequest("follow: neither true nor false"),
        *error_examples.RUN,
        UnknownAttemptError("the run has no attempt 3"),
        NoLogError("the run is queued: it has no pod yet"),
        *error_examples.WAITING,
        *error_examples.API_SERVER,
    ),
    guarded=True,
)


def logs_blueprint(access_control: AccessControl, logs: LogReader, limiter: ConcurrencyLimiter) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("logs", __name__, url_prefix="/job")

    @blueprint.get("/<name>/<run_id>/logs")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        definition = access_control.require(name)
        options = _read_options(request)
        if request.method == "HEAD":
            with limiter.acquire():
                logs.check(definition.name, run_id, options)
            return _answer(iter(()))
        pieces = logs.read(
            definition.name, run_id, options, client_disconnected(request), trusted=definition.visibility != "Public"
        )
        opened = next(pieces)  # what is wrong is said with a status of its own
        response = _answer(_send(itertools.chain([opened], pieces), f"{name}/{run_id}"))
        response.call_on_close(pieces.close)
        return response

    return blueprint


def _answer(pieces: Iterator[bytes]) -> Response:
    return Response(pieces, headers=_HEADERS, content_type="text/plain; charset=utf-8")


def _send(pieces: Iterator[bytes], run: str) -> Iterator[bytes]:
    """Pass pieces on; a log that broke off ends the connection, and not the answer, so that the client sees it."""
    try:
        yield from pieces
    except BrokenLogError as error:
        log.warning("the log of %s broke off: %s", run, error)
        # The one exception after which gunicorn closes the connection as it stands, without a trace in the log.
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error


def _read_options(request: Request) -> LogOptions:
    """Read the query.

    Raises:
        BadRequest: it names a parameter that there isn't, or gives one twice, or a value that can't be.
    """
    check_parameters(request, *_NUMBERS, *_SWITCHES)
    numbers = {name: read_integer(request, name, least=least, most=_INT32_MOST) for name, least in _NUMBERS.items()}
    options = LogOptions(
        tail_lines=numbers["tailLines"],
        since_seconds=numbers["sinceSeconds"],
        attempt=numbers["attempt"],
        previous=read_switch(request, "previous"),
        follow=read_switch(request, "follow"),
    )
    if options.previous and (options.follow or options.attempt is not None):
        raise BadRequest("previous: excludes follow and attempt")
    return options
