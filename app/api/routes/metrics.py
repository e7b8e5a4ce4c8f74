"""`/metrics`: what Prometheus asks."""

from flask import Blueprint, Response, request

from app.api.openapi.operations import Answer, Operation, describe
from app.definitions.registry import Registry
from app.telemetry.exposition import write_metrics

_READ = Operation(
    tag="Probes",
    summary="The metrics, for Prometheus",
    text="Asks nobody. Of several replicas each has its own; only the one whose dispatcher leads knows the queue.",
    answers=(Answer(text="The metrics, or OpenMetrics where `Accept` asks for it.", content_type="text/plain"),),
)


def metrics_blueprint(registry: Registry, *, hide_private: bool) -> Blueprint:
    """Build the route.

    Args:
        registry: the definitions.
        hide_private: whether the names of private definitions are kept from those who read the metrics, of whom nobody
            asks who they are.
    """
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @describe(_READ)
    def read() -> Response:
        definitions = registry.all()
        private = [one.name for one in definitions if one.visibility != "Public"]
        text = write_metrics(
            request.headers.get("Accept", ""), [one.name for one in definitions], private if hide_private else ()
        )
        return Response(text.content, content_type=text.content_type)

    return blueprint
