"""`/health` and `/ready`: for Kubernetes' probes."""

from collections.abc import Callable

from flask import Blueprint, Response

from app.api.openapi import error_examples
from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.api.responses import json_response
from app.definitions.config_watcher import ConfigurationState
from app.definitions.cronjob_watcher import CronJobsState
from app.health import Health, StuckError
from schemas.readiness_response import ReadySchema

_EXAMPLE = {
    "dispatcher": "leading",
    "configuration": {"status": "Current", "load_timestamp": 1764064800000, "faults": 0},
    "cronjobs": {"status": "Current", "definitions": 2, "refused": 0},
    "refused_templates": 0,
    "ignored_kueue_gates": 0,
}

_LIVE = Operation(
    tag="Probes",
    summary="Check liveness",
    text="Asks no other service. Fails if the dispatcher of the process has been stuck for a minute: only a restart "
    "helps.",
    successes=(SuccessResponse(text="The process is alive.", content_type="text/plain", example="OK\n"),),
    errors=(StuckError("example"),),
)
_READY = Operation(
    tag="Probes",
    summary="Check readiness",
    text="Asks the API server until it has succeeded once, and the CronJobs with definitions have been read. After "
    "that the response is always 200.",
    successes=(SuccessResponse(text="The process is ready.", schema=ReadySchema, example=_EXAMPLE),),
    errors=error_examples.API_SERVER[:1],
)


def health_blueprint(
    health: Health,
    dispatcher_state: Callable[[], str],
    configuration_state: Callable[[], ConfigurationState],
    cronjobs_state: Callable[[], CronJobsState],
    refused_templates: Callable[[], int],
    ignored_gates: Callable[[], int],
) -> Blueprint:
    """Build the routes.

    Args:
        health: checks this process.
        dispatcher_state: returns `leading`, `following` or `off`.
        configuration_state: returns whether the latest configuration is in force, and why not.
        cronjobs_state: returns the same of CronJobs.
        refused_templates: returns how many templates the API server does not accept.
        ignored_gates: returns how many runs Kueue has started before they were admitted.
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
        response = {
            "dispatcher": dispatcher_state(),
            "configuration": configuration,
            "cronjobs": cronjobs_state(),
            "refused_templates": refused_templates(),
            "ignored_kueue_gates": ignored_gates(),
        }
        return json_response(ready_schema.dump(response))

    return blueprint
