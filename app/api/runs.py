"""`/job/<name>` and `/job/<name>/<id>`: reading, listing and cancelling runs."""

from flask import Blueprint, Response, request

from app.api.clients import has_left
from app.api.door import Door
from app.api.queries import check_means_queued, check_parameters, link_to_next, read_wanted
from app.api.responses import json_response
from app.api.waits import answer_with, read_wait
from app.services.cancel import Canceller
from app.services.gate import Gate
from app.services.runs import Runs
from app.services.waiting import Waits, has_ended
from schemas.run import EmptiedSchema, RunSchema


def runs_blueprint(door: Door, runs: Runs, canceller: Canceller, waits: Waits, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema, emptied_schema = RunSchema(), EmptiedSchema()

    @blueprint.get("/<name>")
    def read_many(name: str) -> Response:
        definition = door.enter(name)
        wanted = read_wanted(request)
        with gate.place():
            page = runs.page(definition.name, wanted)
        return json_response(run_schema.dump(page.runs, many=True), 200, link_to_next(request, page))

    @blueprint.get("/<name>/<run_id>")
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
    def cancel(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        check_parameters(request)
        with gate.place():
            view = canceller.cancel(definition.name, run_id)
        return json_response(run_schema.dump(view))

    @blueprint.delete("/<name>")
    def empty(name: str) -> Response:
        definition = door.enter(name)
        check_means_queued(request)
        with gate.place():
            emptied = canceller.empty(definition.name)
        return json_response(emptied_schema.dump(emptied))

    return blueprint
