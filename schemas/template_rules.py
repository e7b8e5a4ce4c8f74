"""What a template may not say, because the service decides it for each run."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.faults import Fault, pointer_to

_Path = tuple[str | int, ...]

_OWN_PREFIXES = ("slimfaas.dev/", "SlimFaas/")
_OWN_KEYS = frozenset({"app.kubernetes.io/managed-by", "slimfaas-job-name"})

MANAGER = "slimfaas-jobs"
"""The value of that label on runs."""

REPLACED_LABEL = "app.kubernetes.io/managed-by"
"""A label that a template may have, although the service sets it. Charts give it to all that they make, and their tool
does not manage the runs."""

_KUBERNETES_KEYS = frozenset({"controller-uid", "job-name"})
_KUBERNETES_PREFIX = "batch.kubernetes.io/"
_KUEUE_PREFIX = "kueue.x-k8s.io/"
_KUEUE_PLACEMENT_PREFIX = "kueue.x-k8s.io/podset-"
"""Of annotations by which a pod template says near what its pod should run:
https://kueue.sigs.k8s.io/docs/concepts/topology_aware_scheduling/"""

_ONE_POD = "a run has one pod, so this can only be 1"
_NAMED_BY_SERVICE = "the service names its runs and knows their namespace; leave it out"
_UNUSED = "not used: only the labels and annotations of a template become those of its runs"
_INDEXED_ONLY = "only for Indexed Jobs, which runs are not"

_SPEC_FAULTS = {
    "managedBy": "the Job controller of Kubernetes runs all runs; leave it out",
    "selector": "Kubernetes chooses the selector of a run; leave it out",
    "backoffLimitPerIndex": _INDEXED_ONLY,
    "maxFailedIndexes": _INDEXED_ONLY,
    "successPolicy": _INDEXED_ONLY,
}
"""Fields of a Job's spec that a template may not have, whatever their value."""


def ownership_faults(path: _Path, job: Mapping[str, Any]) -> Iterator[Fault]:
    """Find what a template says that is not its to say.

    A value that is the same as what the service writes is accepted: `kubectl` and the API server write many defaults.

    Args:
        path: of the template, for the pointers.
        job: the template, without fields that are null.
    """
    spec = job["spec"]
    yield from _metadata_faults((*path, "metadata"), job.get("metadata") or {})
    yield from _metadata_faults((*path, "spec", "template", "metadata"), spec["template"].get("metadata") or {})
    place = (*path, "spec")
    for key in ("completions", "parallelism"):
        if spec.get(key, 1) != 1:
            yield Fault(pointer_to(*place, key), _ONE_POD)
    if spec.get("completionMode", "NonIndexed") != "NonIndexed":
        yield Fault(pointer_to(*place, "completionMode"), "a run has one pod, so this can only be NonIndexed")
    if spec.get("manualSelector"):
        yield Fault(pointer_to(*place, "manualSelector"), _SPEC_FAULTS["selector"])
    if spec.get("suspend", True) is not True:
        yield Fault(pointer_to(*place, "suspend"), "each run is queued, and started when a slot is free; leave it out")
    for key, message in _SPEC_FAULTS.items():
        if key in spec:
            yield Fault(pointer_to(*place, key), message)


def _metadata_faults(path: _Path, metadata: Mapping[str, Any]) -> Iterator[Fault]:
    for key in metadata:
        if key in ("name", "generateName", "namespace"):
            yield Fault(pointer_to(*path, key), _NAMED_BY_SERVICE)
        elif key not in ("labels", "annotations"):
            yield Fault(pointer_to(*path, key), _UNUSED)
    for part in ("labels", "annotations"):
        for key in metadata.get(part) or {}:
            is_placement = part == "annotations" and path[-2] == "template" and key.startswith(_KUEUE_PLACEMENT_PREFIX)
            if (part, key) != ("labels", REPLACED_LABEL) and not is_placement and (message := _key_fault(key)):
                yield Fault(pointer_to(*path, part, key), message)


def _key_fault(key: str) -> str:
    """Return why a template may not have a label or annotation; empty: it may."""
    if key in _OWN_KEYS or key.startswith(_OWN_PREFIXES):
        return "the service sets this on its runs; leave it out"
    if key in _KUBERNETES_KEYS or key.startswith(_KUBERNETES_PREFIX):
        return "Kubernetes sets this on Jobs and their pods; leave it out"
    if key.startswith(_KUEUE_PREFIX):
        return "Queue and Priority of the definition say what runs need of Kueue; leave it out"
    return ""
