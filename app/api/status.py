"""`GET /jobs/status`: how the definitions stand."""

from flask import Blueprint, Response, request

from app.api.door import Door
from app.api.queries import check_parameters
from app.api.responses import json_response
from app.services.gate import Gate
from app.services.overview import Overview
from schemas.overview import DefinitionSchema


def status_blueprint(door: Door, overview: Overview, gate: Gate) -> Blueprint:
    """Build the routes."""
    blueprint = Blueprint("status", __name__, url_prefix="/jobs")
    definitions_schema = DefinitionSchema(many=True)

    @blueprint.get("/status")
    def read() -> Response:
        check_parameters(request)
        definitions = door.visible()
        with gate.place():
            views = overview.describe(definitions)
        return json_response(definitions_schema.dump(views))

    return blueprint
