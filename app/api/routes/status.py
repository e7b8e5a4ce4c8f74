"""`GET /jobs/status`, and `GET /status-jobs`, SlimFaas' other name for it: the state of the definitions."""

from typing import Any

from flask import Blueprint, Response, request

from app.api.access_control import AccessControl
from app.api.openapi import error_examples
from app.api.openapi.examples import DEFINITION
from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.api.openapi.parameters import AGE, MAX_STALE
from app.api.params.query_params import check_parameters
from app.api.polling import PolledResponses, read_max_stale
from app.api.responses import json_response
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.runs.definition_status import DefinitionStatuses
from schemas.definition_status import SHORT_FIELDS, DefinitionSchema

_READ = Operation(
    tag="Definitions",
    summary="Read the definitions' state",
    text="Every definition that the caller may use, with its slots. Callers who may list the definition's runs also "
    "see its images and resources, its queue, its active runs and its dependencies. `GET /status-jobs` is the same.",
    parameters=(MAX_STALE,),
    successes=(
        SuccessResponse(
            text="The definitions.", schema=DefinitionSchema, many=True, example=[DEFINITION], headers={"Age": AGE}
        ),
    ),
    errors=(*error_examples.QUERY, *error_examples.CALLER, *error_examples.API_SERVER),
    varies_by_caller=True,
)


def status_blueprint(
    access_control: AccessControl,
    statuses: DefinitionStatuses,
    limiter: ConcurrencyLimiter,
    polled: PolledResponses,
) -> Blueprint:
    """Build the route."""
    blueprint = Blueprint("status", __name__)
    in_full, in_short = DefinitionSchema(), DefinitionSchema(only=SHORT_FIELDS)

    @blueprint.get("/jobs/status")
    @blueprint.get("/status-jobs", endpoint="read_for_slimfaas")
    @describe(_READ)
    def read() -> Response:
        check_parameters(request)
        visible = access_control.visible()

        def make() -> list[Any]:
            with limiter.acquire():
                views = statuses.describe([one.definition for one in visible])
            shown = zip(visible, views, strict=True)
            return [(in_full if one.in_full else in_short).dump(view) for one, view in shown]

        max_stale_seconds = read_max_stale(request)
        if max_stale_seconds is None:
            return json_response(make())
        key = ("status", *((one.definition.name, one.in_full) for one in visible))
        return polled.get(key, max_stale_seconds, lambda: (make(), None)).respond()

    return blueprint
