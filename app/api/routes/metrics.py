"""`/metrics`: for Prometheus."""

from flask import Blueprint, Response, request

from app.api.openapi.operations import Operation, SuccessResponse, describe
from app.definitions.registry import Registry
from app.telemetry.exposition import write_metrics

_READ = Operation(
    tag="Probes",
    summary="Read the metrics",
    text="For Prometheus. Asks no other service. Each replica has its own metrics; only the replica whose dispatcher "
    "leads has those of the queue.",
    successes=(
        SuccessResponse(text="The metrics; in OpenMetrics format if `Accept` asks for it.", content_type="text/plain"),
    ),
)


def metrics_blueprint(registry: Registry, *, hide_private: bool) -> Blueprint:
    """Build the route.

    Args:
        registry: the definitions.
        hide_private: whether to omit private definitions, because this route does not authorize its callers.
    """
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @describe(_READ)
    def read() -> Response:
        definitions = registry.all()
        private = [definition.name for definition in definitions if definition.visibility != "Public"]
        text = write_metrics(
            request.headers.get("Accept", ""),
            [definition.name for definition in definitions],
            private if hide_private else (),
        )
        return Response(text.content, content_type=text.content_type)

    return blueprint
