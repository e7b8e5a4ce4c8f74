"""`/job/<name>/<id>`: reading runs."""

from flask import Blueprint, Response

from app.api.door import Door
from app.api.responses import json_response
from app.services.gate import Gate
from app.services.runs import Runs
from schemas.run import RunSchema


def runs_blueprint(door: Door, runs: Runs, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema = RunSchema()

    @blueprint.get("/<name>/<run_id>")
    def read(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        with gate.place():
            view = runs.get(definition.name, run_id)
        return json_response(run_schema.dump(view))

    return blueprint
