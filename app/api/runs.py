"""`/job/<name>` and `/job/<name>/<id>`: reading, listing and cancelling runs."""

from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from app.api.clients import has_left
from app.api.description import faults
from app.api.description.examples import QUEUED, SUCCEEDED
from app.api.description.operations import Answer, Header, Link, Operation, Parameter, describe
from app.api.description.parameters import PREFER, PREFERENCE_APPLIED
from app.api.door import Door
from app.api.queries import check_means_queued, check_parameters, link_to_next, read_wanted
from app.api.responses import json_response
from app.api.waits import answer_with, read_wait
from app.services.cancel import Canceller, Emptied
from app.services.gate import Gate
from app.services.pages import DEFAULT_LIMIT, MAX_LIMIT
from app.services.runs import Runs
from app.services.waiting import Waits, has_ended
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
    faults=(*faults.OF_A_QUERY, *faults.OF_A_RUN, *faults.OF_WAITING, *faults.OF_THE_CLUSTER),
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
    faults=(BadRequest(f"limit: not a number from 1 to {MAX_LIMIT}"), *faults.OF_A_QUERY, *faults.OF_THE_CLUSTER),
    guarded=True,
)
_CANCEL = Operation(
    tag="Runs",
    summary="Cancel a run",
    text="Cancels one that is queued or active, and removes one that is finished. An active run is there until its pod "
    "has ended, and holds its slot for as long. Calling it again is safe.",
    answers=(Answer(text="The run's last state.", schema=RunSchema, example=replace(QUEUED, reason="Deleting")),),
    faults=(*faults.OF_A_QUERY, *faults.OF_A_RUN, *faults.OF_CANCELLING),
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
    answers=(Answer(text="How many there were.", schema=EmptiedSchema, example=Emptied(deleted=3, remaining=0)),),
    faults=(
        BadRequest("only queued runs can be deleted together: say ?status=Queued; name any other run by its id"),
        *faults.OF_EMPTYING,
    ),
    guarded=True,
)


def runs_blueprint(door: Door, runs: Runs, canceller: Canceller, waits: Waits, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema, emptied_schema = RunSchema(), EmptiedSchema()

    @blueprint.get("/<name>")
    @describe(_READ_MANY)
    def read_many(name: str) -> Response:
        definition = door.enter(name)
        wanted = read_wanted(request)
        with gate.place():
            page = runs.page(definition.name, wanted)
        return json_response(run_schema.dump(page.runs, many=True), 200, link_to_next(request, page))

    @blueprint.get("/<name>/<run_id>")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        check_parameters(request)
        with gate.place():
            view = runs.get(definition.name, run_id)
        wait_seconds = read_wait(request)
        if not has_ended(view):
            with waits.place(wait_seconds, has_left(request)) as interrupt:
                if interrupt is not None:
                    view = waits.wait_for_end(definition.name, run_id, interrupt)
        return answer_with(view, wait_seconds)

    @blueprint.delete("/<name>/<run_id>")
    @describe(_CANCEL)
    def cancel(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        check_parameters(request)
        with gate.place():
            view = canceller.cancel(definition.name, run_id)
        return json_response(run_schema.dump(view))

    @blueprint.delete("/<name>")
    @describe(_EMPTY)
    def empty(name: str) -> Response:
        definition = door.enter(name)
        check_means_queued(request)
        with gate.place():
            emptied = canceller.empty(definition.name)
        return json_response(emptied_schema.dump(emptied))

    return blueprint
