"""`/job/<name>/<id>`: reading runs."""

from flask import Blueprint, Response, request

from app.api.clients import has_left
from app.api.door import Door
from app.api.waits import answer_with, read_wait
from app.services.gate import Gate
from app.services.runs import Runs
from app.services.waiting import Waits, has_ended


def runs_blueprint(door: Door, runs: Runs, waits: Waits, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")

    @blueprint.get("/<name>/<run_id>")
    def read(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        with gate.place():
            view = runs.get(definition.name, run_id)
        wait_seconds = read_wait(request)
        if not has_ended(view):
            with waits.place(wait_seconds, has_left(request)) as interrupt:
                if interrupt is not None:
                    view = waits.wait_for_end(definition.name, run_id, interrupt)
        return answer_with(view, wait_seconds)

    return blueprint
