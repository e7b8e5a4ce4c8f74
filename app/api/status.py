"""`GET /jobs/status`: how the definitions stand."""

from flask import Blueprint, Response, request

from app.api.description import faults
from app.api.description.examples import DEFINITION
from app.api.description.operations import Answer, Operation, describe
from app.api.door import Door
from app.api.queries import check_parameters
from app.api.responses import json_response
from app.services.gate import Gate
from app.services.overview import Overview
from schemas.overview import DefinitionSchema

_READ = Operation(
    tag="Definitions",
    summary="How the definitions stand",
    text="Every definition that the caller may use: what it is, its slots, its queue, and its dependencies.",
    answers=(Answer(text="The definitions.", schema=DefinitionSchema, many=True, example=[DEFINITION]),),
    faults=(*faults.OF_A_QUERY, *faults.OF_A_CALLER, *faults.OF_THE_CLUSTER),
    personal=True,
)


def status_blueprint(door: Door, overview: Overview, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("status", __name__, url_prefix="/jobs")
    definitions_schema = DefinitionSchema(many=True)

    @blueprint.get("/status")
    @describe(_READ)
    def read() -> Response:
        check_parameters(request)
        definitions = door.visible()
        with gate.place():
            views = overview.describe(definitions)
        return json_response(definitions_schema.dump(views))

    return blueprint
