"""Which container of a pod is the run's own.

A template may have several containers, and admission webhooks add others. All that a run tells (exit code, result,
attempts, log, image, arguments) is told of this one.
"""

from collections.abc import Mapping
from typing import Any

DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container"
"""On pods and pod templates: the container that `kubectl logs` and `kubectl exec` choose.
https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-default-container"""


def run_container(template: Mapping[str, Any], definition: str) -> Mapping[str, Any]:
    """Return the run's own container: that of the annotation, else the one named as the definition, else the first.

    An annotation that names no container is ignored: anybody who may write the object may have written it. Init
    containers are never the run's own.

    Args:
        template: a pod, or a pod template, with `metadata` and `spec`.
        definition: the name of the run's definition.

    Returns:
        An item of `spec.containers`; empty: there is none.
    """
    containers: list[Mapping[str, Any]] = (template.get("spec") or {}).get("containers") or []
    annotations: Mapping[str, Any] = (template.get("metadata") or {}).get("annotations") or {}
    for name in (annotations.get(DEFAULT_CONTAINER_ANNOTATION), definition):
        for container in containers:
            if name and container.get("name") == name:
                return container
    return containers[0] if containers else {}
