"""`/job/<name>` and `/job/<name>/<id>`: read, list and cancel runs."""

from dataclasses import replace
from threading import Lock
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from app.api.access_control import Access, AccessControl
from app.api.list_responses import ListResponses
from app.api.openapi import error_examples
from app.api.openapi.examples import QUEUED, SUCCEEDED
from app.api.openapi.operations import Header, Link, Operation, Parameter, SuccessResponse, describe
from app.api.openapi.parameters import AGE, MAX_STALE, PREFER, PREFERENCE_APPLIED
from app.api.params.client_disconnected import make_disconnect_check
from app.api.params.prefer_header import read_wait, respond_with_run
from app.api.params.query_params import (
    LISTED_NOTIFICATIONS,
    check_only_queued,
    check_parameters,
    next_page_header,
    read_list_query,
)
from app.api.polling import PolledResponses, read_max_stale
from app.api.responses import json_response
from app.auth.actions import Action
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.cancel import Canceller, EmptyResult
from app.runs.pagination import DEFAULT_LIMIT, MAX_LIMIT, MAX_RUNS_BYTES, QueueKey
from app.runs.reader import RunReader
from app.runs.waiting import RunWaiter, has_ended
from schemas.run import EmptiedSchema, RunSchema, RunView, Status

_LIST_BYTES = 2 * MAX_RUNS_BYTES
"""What a list may take in memory: its runs, and its response."""

_ALL_LISTS_BYTES = 4 * _LIST_BYTES
"""What all lists under way may take, until their clients have read them. A usual page is a tenth of the largest."""

OWN_RUNS_HEADER = "SlimFaas-Runs"

_SAME_RUN = {"name": "$request.path.name", "id": "$request.path.id"}
_READ = Operation(
    tag="Runs",
    summary="Read a run",
    text="Its status, why it waits or failed, and its result.",
    parameters=(PREFER, MAX_STALE),
    successes=(
        SuccessResponse(
            text="The run.",
            schema=RunSchema,
            example=SUCCEEDED,
            headers={"Preference-Applied": PREFERENCE_APPLIED, "Age": AGE},
            links={"cancel": Link(operation="runs.cancel", parameters=_SAME_RUN)},
        ),
    ),
    errors=(*error_examples.QUERY, *error_examples.RUN, *error_examples.API_SERVER),
    requires_access=True,
)
_READ_MANY = Operation(
    tag="Runs",
    summary="List a definition's runs",
    text="Newest first, in pages. Of `Args`, `Environments` and `DependsOn` a list shows 1,024 characters each; "
    "`Truncated` names those that have more. The run itself shows them whole.",
    parameters=(
        Parameter(
            name="limit",
            location="query",
            text="The maximum number of runs on a page.",
            schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            example=20,
        ),
        Parameter(
            name="continue",
            location="query",
            text="Where the page begins. Take it from the `Link` header of the previous page.",
            schema={"type": "string"},
        ),
        Parameter(
            name="status",
            location="query",
            text="Only runs of this status; if repeated, of any of these.",
            schema={"type": "array", "items": {"enum": [status.value for status in Status]}},
            example=[Status.QUEUED.value],
        ),
        Parameter(
            name="notification",
            location="query",
            text="Only runs whose notification is in this state; if repeated, in any of these.",
            schema={"type": "array", "items": {"enum": LISTED_NOTIFICATIONS}},
        ),
        Parameter(
            name="finishedSince",
            location="query",
            text="Only runs that ended at this time (RFC 3339) or later, as far as they still exist.",
            schema={"type": "string", "format": "date-time"},
        ),
        MAX_STALE,
    ),
    successes=(
        SuccessResponse(
            text="A page of runs; empty if there are none.",
            schema=RunSchema,
            many=True,
            example=(QUEUED, SUCCEEDED),
            headers={
                "Link": Header(
                    text="The next page; absent on the last page.",
                    example='</job/fibonacci?limit=20&continue=0000018af3>; rel="next"',
                    always=False,
                ),
                OWN_RUNS_HEADER: Header(
                    text="`own`: the caller may not list all runs, so these are only those that it has started.",
                    example="own",
                    always=False,
                ),
                "Age": AGE,
            },
        ),
    ),
    errors=(
        BadRequest(f"limit: must be a number from 1 to {MAX_LIMIT}"),
        *error_examples.LISTING,
        *error_examples.QUERY,
        *error_examples.API_SERVER,
    ),
    requires_access=True,
)
_CANCEL = Operation(
    tag="Runs",
    summary="Cancel a run",
    text="Cancels a queued or active run; removes a finished one. An active run exists until its pod has ended, and "
    "keeps its slot until then. Repeating the request is safe.",
    successes=(
        SuccessResponse(text="The run's last state.", schema=RunSchema, example=replace(QUEUED, reason="Deleting")),
    ),
    errors=(*error_examples.QUERY, *error_examples.RUN, *error_examples.CANCEL),
    requires_access=True,
)
_EMPTY = Operation(
    tag="Runs",
    summary="Empty a definition's queue",
    text="Deletes all queued runs and no admitted one.",
    parameters=(
        Parameter(
            name="status",
            location="query",
            text="Confirms that only queued runs are to be deleted.",
            schema={"const": Status.QUEUED.value},
            example=Status.QUEUED.value,
            required=True,
        ),
    ),
    successes=(
        SuccessResponse(
            text="How many runs were deleted, and how many remain.",
            schema=EmptiedSchema,
            example=EmptyResult(deleted=3, remaining=0),
        ),
    ),
    errors=(
        BadRequest("only queued runs can be deleted together: add ?status=Queued, or delete one run by its id"),
        *error_examples.LISTING,
        *error_examples.EMPTY_QUEUE,
    ),
    requires_access=True,
)


def runs_blueprint(
    access_control: AccessControl,
    runs: RunReader,
    canceller: Canceller,
    waiter: RunWaiter,
    limiter: ConcurrencyLimiter,
    polled: PolledResponses,
) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema, emptied_schema = RunSchema(), EmptiedSchema()
    lists, rendering = ListResponses(polled, most_bytes=_LIST_BYTES, all_bytes=_ALL_LISTS_BYTES), Lock()

    @blueprint.get("/<name>")
    @describe(_READ_MANY)
    def read_many(name: str) -> Response:
        access = access_control.require(name, Action.LIST)
        list_query = replace(read_list_query(request), owner=access.owner)

        def make() -> tuple[Any, QueueKey | None]:
            with limiter.acquire():
                page = runs.page(access.definition.name, list_query)
            with rendering:
                return run_schema.dump(page.runs, many=True), page.next

        own = {OWN_RUNS_HEADER: "own"} if access.own_only else {}
        key = ("runs", access.definition.name, list_query)
        return lists.respond(key, make, lambda following: next_page_header(request, following) | own)

    @blueprint.get("/<name>/<run_id>")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        access = access_control.require(name, Action.READ, key=run_id)
        definition = access.definition
        check_parameters(request)

        def get() -> RunView:
            with limiter.acquire():
                _check_owner(runs, access, run_id)
                return runs.get(definition.name, run_id)

        wait_seconds, max_stale_seconds = read_wait(request), read_max_stale(request)
        if max_stale_seconds is not None and wait_seconds is None:
            key = ("run", definition.name, run_id, access.owner)
            return polled.get(key, max_stale_seconds, lambda: (run_schema.dump(get()), None)).respond()
        view = get()
        if wait_seconds and not has_ended(view):
            disconnected, trust = make_disconnect_check(request), access_control.trust_in_caller(definition)
            with waiter.acquire(wait_seconds, disconnected, trust=trust) as cancel_token:
                if cancel_token is None:
                    wait_seconds = None  # too many others wait: respond with the run as it is, and confirm no wait
                else:
                    view = waiter.wait_for_end(definition.name, run_id, cancel_token)
        return respond_with_run(view, wait_seconds)

    @blueprint.delete("/<name>/<run_id>")
    @describe(_CANCEL)
    def cancel(name: str, run_id: str) -> Response:
        access = access_control.require(name, Action.CANCEL, key=run_id)
        definition = access.definition
        check_parameters(request)
        with limiter.acquire():
            _check_owner(runs, access, run_id)
            view = canceller.cancel(definition.name, run_id)
        return json_response(run_schema.dump(view))

    @blueprint.delete("/<name>")
    @describe(_EMPTY)
    def empty(name: str) -> Response:
        definition = access_control.require(name, Action.EMPTY).definition
        check_only_queued(request)
        with limiter.acquire():
            result = canceller.empty(definition.name)
        return json_response(emptied_schema.dump(result))

    return blueprint


def _check_owner(runs: RunReader, access: Access, run_id: str) -> None:
    """Check that the caller may use this run, if that depends on who has started it."""
    if access.owner is not None:
        runs.check_owner(access.definition.name, run_id, access.owner)
