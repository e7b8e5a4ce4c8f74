"""The `scale` subresource of Deployments and StatefulSets, which `kubectl scale` uses.

See https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/scale-v1/.
"""

from collections.abc import Callable

from devcluster.errors import invalid
from devcluster.kinds import Kind
from devcluster.objects import Object
from devcluster.selectors import format_label_selector
from devcluster.validation.fields import check_not_negative

SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale")
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(workload: Object) -> Object:
    """Return the Scale of a workload. As in the API server, `spec` has no count of 0."""
    metadata, replicas = workload["metadata"], workload["spec"].get("replicas", 1)
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": {field: metadata[field] for field in _METADATA if field in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": (workload.get("status") or {}).get("replicas", 0),
            "selector": format_label_selector(workload["spec"].get("selector") or {}),
        },
    }


def change_replicas(workload: Object, change: Callable[[Object], Object]) -> Object:
    """Return a workload with the replicas and the resourceVersion of its changed Scale.

    Raises:
        ApiError: 422, the replicas are negative; otherwise as `change`.
    """
    scale = change(scale_of(workload))
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if causes := check_not_negative("spec.replicas", replicas):
        raise invalid(SCALE, workload["metadata"]["name"], causes)
    metadata = {**workload["metadata"], "resourceVersion": scale["metadata"].get("resourceVersion", "")}
    return {**workload, "metadata": metadata, "spec": {**workload["spec"], "replicas": replicas}}
