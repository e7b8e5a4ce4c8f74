"""`GET /job/<name>/definition`: what a request may set, and what its caller may do."""

from flask import Blueprint, Response, request

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import BOUNDS
from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.api.params.query_params import check_parameters
from app.api.responses import json_response
from schemas.definition_view import RequestBoundsSchema, read_bounds

_READ = Operation(
    tag="Definitions",
    summary="Read what a request may set",
    text="The defaults and bounds of a definition's runs, as a form needs them, and what the caller may do. Callers "
    "who may start runs or list them may read it. It never shows values of environment variables.",
    successes=(SuccessResponse(text="The bounds.", schema=RequestBoundsSchema, example=BOUNDS),),
    errors=(*error_examples.QUERY, *error_examples.API_SERVER[1:]),
    requires_access=True,
)


def definitions_blueprint(access_control: AccessControl) -> Blueprint:
    """Build the route."""
    blueprint = Blueprint("definitions", __name__, url_prefix="/job")
    schema = RequestBoundsSchema()

    @blueprint.get("/<name>/definition")
    @describe(_READ)
    def read(name: str) -> Response:
        permissions = access_control.permissions(name)
        check_parameters(request)
        bounds = read_bounds(
            permissions.definition,
            tuple(action.name_for_callers for action in permissions.on_all),
            tuple(action.name_for_callers for action in permissions.on_own),
        )
        return json_response(schema.dump(bounds))

    return blueprint
