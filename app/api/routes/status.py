"""`GET /jobs/status`: the state of the definitions."""

from flask import Blueprint, Response, request

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import DEFINITION
from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.api.params.query_params import check_parameters
from app.api.responses import json_response
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.definition_status import DefinitionStatuses
from schemas.definition_status import DefinitionSchema

_READ = Operation(
    tag="Definitions",
    summary="Read the definitions' state",
    text="Every definition that the caller may use, with its slots, its queue and its dependencies.",
    successes=(SuccessResponse(text="The definitions.", schema=DefinitionSchema, many=True, example=[DEFINITION]),),
    errors=(*error_examples.QUERY, *error_examples.CALLER, *error_examples.API_SERVER),
    varies_by_caller=True,
)


def status_blueprint(
    access_control: AccessControl, statuses: DefinitionStatuses, limiter: ConcurrencyLimiter
) -> Blueprint:
    """Build the route."""
    blueprint = Blueprint("status", __name__, url_prefix="/jobs")
    definitions_schema = DefinitionSchema(many=True)

    @blueprint.get("/status")
    @describe(_READ)
    def read() -> Response:
        check_parameters(request)
        definitions = access_control.visible()
        with limiter.acquire():
            views = statuses.describe(definitions)
        return json_response(definitions_schema.dump(views))

    return blueprint
