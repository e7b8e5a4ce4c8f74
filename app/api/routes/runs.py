"""`/job/<name>` and `/job/<name>/<id>`: read, list and cancel runs."""

from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import QUEUED, SUCCEEDED
from app.api.openapi.operations import Header, Link, Operation, Parameter, SuccessResponse, describe
from app.api.openapi.parameters import PREFER, PREFERENCE_APPLIED
from app.api.params.client_disconnected import make_disconnect_check
from app.api.params.prefer_header import read_wait, respond_with_run
from app.api.params.query_params import check_only_queued, check_parameters, next_page_header, read_list_query
from app.api.responses import json_response
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.cancel import Canceller, EmptyResult
from app.runs.pagination import DEFAULT_LIMIT, MAX_LIMIT
from app.runs.reader import RunReader
from app.runs.waiting import RunWaiter, has_ended
from schemas.run import EmptiedSchema, RunSchema, Status

_SAME_RUN = {"name": "$request.path.name", "id": "$request.path.id"}
_READ = Operation(
    tag="Runs",
    summary="Read a run",
    text="Its status, why it waits or failed, and its result.",
    parameters=(PREFER,),
    successes=(
        SuccessResponse(
            text="The run.",
            schema=RunSchema,
            example=SUCCEEDED,
            headers={"Preference-Applied": PREFERENCE_APPLIED},
            links={"cancel": Link(operation="runs.cancel", parameters=_SAME_RUN)},
        ),
    ),
    errors=(*error_examples.QUERY, *error_examples.RUN, *error_examples.API_SERVER),
    requires_access=True,
)
_READ_MANY = Operation(
    tag="Runs",
    summary="List a definition's runs",
    text="Newest first, in pages.",
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
                )
            },
        ),
    ),
    errors=(
        BadRequest(f"limit: must be a number from 1 to {MAX_LIMIT}"),
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
        *error_examples.EMPTY_QUEUE,
    ),
    requires_access=True,
)


def runs_blueprint(
    access_control: AccessControl, runs: RunReader, canceller: Canceller, waiter: RunWaiter, limiter: ConcurrencyLimiter
) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema, emptied_schema = RunSchema(), EmptiedSchema()

    @blueprint.get("/<name>")
    @describe(_READ_MANY)
    def read_many(name: str) -> Response:
        definition = access_control.require(name)
        list_query = read_list_query(request)
        with limiter.acquire():
            page = runs.page(definition.name, list_query)
        return json_response(run_schema.dump(page.runs, many=True), 200, next_page_header(request, page))

    @blueprint.get("/<name>/<run_id>")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        definition = access_control.require(name)
        check_parameters(request)
        with limiter.acquire():
            view = runs.get(definition.name, run_id)
        wait_seconds = read_wait(request)
        if wait_seconds and not has_ended(view):
            disconnected, trusted = make_disconnect_check(request), definition.visibility != "Public"
            with waiter.acquire(wait_seconds, disconnected, trusted=trusted) as cancel_token:
                if cancel_token is None:
                    wait_seconds = None  # too many others wait: respond with the run as it is, and confirm no wait
                else:
                    view = waiter.wait_for_end(definition.name, run_id, cancel_token)
        return respond_with_run(view, wait_seconds)

    @blueprint.delete("/<name>/<run_id>")
    @describe(_CANCEL)
    def cancel(name: str, run_id: str) -> Response:
        definition = access_control.require(name)
        check_parameters(request)
        with limiter.acquire():
            view = canceller.cancel(definition.name, run_id)
        return json_response(run_schema.dump(view))

    @blueprint.delete("/<name>")
    @describe(_EMPTY)
    def empty(name: str) -> Response:
        definition = access_control.require(name)
        check_only_queued(request)
        with limiter.acquire():
            result = canceller.empty(definition.name)
        return json_response(emptied_schema.dump(result))

    return blueprint
