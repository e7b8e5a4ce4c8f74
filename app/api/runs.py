"""`/job/<name>/<id>`: reading runs."""

from flask import Blueprint, Response

from app.api.description import faults
from app.api.description.examples import QUEUED
from app.api.description.operations import Answer, Operation, describe
from app.api.door import Door
from app.api.responses import json_response
from app.services.gate import Gate
from app.services.runs import Runs
from schemas.run import RunSchema

_READ = Operation(
    tag="Runs",
    summary="Read a run",
    text="What it is doing, and why it waits or failed.",
    answers=(Answer(text="The run.", schema=RunSchema, example=QUEUED),),
    faults=faults.OF_A_RUN + faults.OF_THE_CLUSTER,
    guarded=True,
)


def runs_blueprint(door: Door, runs: Runs, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("runs", __name__, url_prefix="/job")
    run_schema = RunSchema()

    @blueprint.get("/<name>/<run_id>")
    @describe(_READ)
    def read(name: str, run_id: str) -> Response:
        definition = door.enter(name)
        with gate.place():
            view = runs.get(definition.name, run_id)
        return json_response(run_schema.dump(view))

    return blueprint
