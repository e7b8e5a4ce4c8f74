"""`/health` and `/ready`: what Kubernetes' probes ask."""

from collections.abc import Callable

from flask import Blueprint, Response

from app.api.responses import json_response
from app.services.health import Health


def health_blueprint(health: Health, dispatcher_state: Callable[[], str]) -> Blueprint:
    """Build the routes.

    Args:
        health: says whether this process can serve.
        dispatcher_state: `leading`, `following` or `off`.
    """
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    def live() -> Response:
        """Answer as long as this process answers at all: no outage of others may get it killed."""
        return Response("OK\n", content_type="text/plain; charset=utf-8")

    @blueprint.get("/ready")
    def ready() -> Response:
        health.check()
        body = {"Status": "Ready", "Dispatcher": dispatcher_state()}
        return json_response(body)

    return blueprint
