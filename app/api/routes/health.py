"""`/health` and `/ready`: what Kubernetes' probes ask."""

from collections.abc import Callable

from flask import Blueprint, Response

from app.api.openapi import error_examples
from app.api.openapi.operations import Answer, Operation, describe
from app.api.responses import json_response
from app.definitions.config_watcher import ConfigurationState
from app.health import Health, StuckError
from schemas.ready import ReadySchema

_EXAMPLE = {
    "dispatcher": "leading",
    "configuration": {"status": "Current", "load_timestamp": 1764064800000, "faults": 0},
}

_LIVE = Operation(
    tag="Probes",
    summary="Whether the process answers at all",
    text="Asks nobody. A process whose dispatcher gets nowhere for a minute is to be restarted.",
    answers=(Answer(text="It does.", content_type="text/plain", example="OK\n"),),
    errors=(StuckError("example"),),
)
_READY = Operation(
    tag="Probes",
    summary="Whether the process can serve",
    text="Asks the API server until that has succeeded once; from then on the answer is always 200.",
    answers=(Answer(text="It can.", schema=ReadySchema, example=_EXAMPLE),),
    errors=error_examples.API_SERVER[:1],
)


def health_blueprint(
    health: Health, dispatcher_state: Callable[[], str], configuration_state: Callable[[], ConfigurationState]
) -> Blueprint:
    """Build the routes.

    Args:
        health: says whether this process can serve.
        dispatcher_state: `leading`, `following` or `off`.
        configuration_state: how the configuration in force stands to what is configured.
    """
    blueprint = Blueprint("health", __name__)
    ready_schema = ReadySchema()

    @blueprint.get("/health")
    @describe(_LIVE)
    def live() -> Response:
        health.check_live()
        return Response("OK\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/ready")
    @describe(_READY)
    def ready() -> Response:
        health.check_ready()
        state = configuration_state()
        configuration = {
            "status": "Refused" if state.faults else "Current",
            "load_timestamp": int(state.loaded_at * 1000),
            "faults": len(state.faults),
        }
        return json_response(ready_schema.dump({"dispatcher": dispatcher_state(), "configuration": configuration}))

    return blueprint
