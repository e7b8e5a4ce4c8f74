"""`/job/<name>` and `/job/<name>/<id>`: reading, listing and cancelling runs."""

from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import QUEUED, SUCCEEDED
from app.api.openapi.operations import Answer, Header, Link, Operation, Parameter, describe
from app.api.openapi.parameters import PREFER, PREFERENCE_APPLIED
from app.api.params.client_disconnected import client_disconnected
from app.api.params.prefer_header import answer_with, read_wait
from app.api.params.query_params import check_means_queued, check_parameters, link_to_next, read_list_query
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
    text="What it is doing, why it waits or failed, and what came out of it.",
    parameters=(PREFER,),
    answers=(
        Answer(
            text="The run.",
            schema=RunSchema,
            example=SUCCEEDED,
            headers={"Preference-Applied": PREFERENCE_APPLIED},
            links={"cancel": Link(operation="runs.cancel", parameters=_SAME_RUN)},
        ),
    ),
    errors=(*error_examples.QUERY, *error_examples.RUN, *error_examples.API_SERVER),
    guarded=True,
)
_READ_MANY = Operation(
    tag="Runs",
    summary="List a definition's runs",
    text="The newest first, page by page.",
    parameters=(
        Parameter(
            name="limit",
            place="query",
            text="The most runs on a page.",
            schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            example=20,
        ),
        Parameter(
            name="continue",
            place="query",
            text="Where the page begins: part of the `Link` header of the page before, and nothing to make up.",
            schema={"type": "string"},
        ),
        Parameter(
            name="status",
            place="query",
            text="Only runs of this status; given more than once, of any of them.",
            schema={"type": "array", "items": {"enum": [status.value for status in Status]}},
            example=[Status.QUEUED.value],
        ),
    ),
    answers=(
        Answer(
            text="A page of runs; empty where there are none.",
            schema=RunSchema,
            many=True,
            example=(QUEUED, SUCCEEDED),
            headers={
                "Link": Header(
                    text="Leads to the next page; absent on the last one.",
                    example='</job/fibonacci?limit=20&continue=0000018af3>; rel="next"',
                    always=False,
                )
            },
        ),
    ),
    errors=(
        BadRequest(f"limit: not a number from 1 to {MAX_LIMIT}"),
        *error_examples.QUERY,
        *error_examples.API_SERVER,
    ),
    guarded=True,
)
_CANCEL = Operation(
    tag="Runs",
    summary="Cancel a run",
    text="Cancels one that is queued or active, and removes one that is finished. An active run is there until its pod "
    "has ended, and holds its slot for as long. Calling it again is safe.",
    answers=(Answer(text="The run's last state.", schema=RunSchema, example=replace(QUEUED, reason="Deleting")),),
    errors=(*error_examples.QUERY, *error_examples.RUN, *error_examples.CANCEL),
    guarded=True,
)
_EMPTY = Operation(
    tag="Runs",
    summary="Empty a definition's queue",
    text="Deletes all queued runs, and none that is admitted.",
    parameters=(
        Parameter(
            name="status",
            place="query",
            text="Says that only queued runs are meant.",
            schema={"const": Status.QUEUED.value},
            example=Status.QUEUED.value,
            required=True,
        ),
    ),
    answers=(Answer(text="How many there were.", schema=EmptiedSchema, example=EmptyResult(deleted=3, remaining=0)),),
    errors=(
        BadRequest("only queued runs can be deleted together: say ?status=Queued; name any other run by its id"),
        *error_examples.EMPTY_QUEUE,
    ),
    guarded=True,
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
        return json_response(run_schema.dump(page.runs, many=True), 200, link_to_next(request, page))

    @blueprint.get("/<name>/<run_id>")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        definition = access_control.require(name)
        check_parameters(request)
        with limiter.acquire():
            view = runs.get(definition.name, run_id)
        wait_seconds = read_wait(request)
        if wait_seconds and not has_ended(view):
            disconnected, trusted = client_disconnected(request), definition.visibility != "Public"
            with waiter.acquire(wait_seconds, disconnected, trusted=trusted) as cancel_token:
                if cancel_token is None:
                    wait_seconds = None  # too many others wait: the run as it is, and nothing confirmed
                else:
                    view = waiter.wait_for_end(definition.name, run_id, cancel_token)
        return answer_with(view, wait_seconds)

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
        check_means_queued(request)
        with limiter.acquire():
            emptied = canceller.empty(definition.name)
        return json_response(emptied_schema.dump(emptied))

    return blueprint
