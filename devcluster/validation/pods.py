"""Rules and defaults for pods, beyond those of their spec: `ValidatePodUpdate` and the registry's pod strategy."""

from devcluster.errors import Cause
from devcluster.objects import Object, clone
from devcluster.validation.fields import forbidden
from devcluster.validation.pod_status import default_pod_status
from devcluster.validation.podspecs import check_spec, default_spec

_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_COMPUTE = ("cpu", "memory")


def default_pod(pod: Object) -> None:
    """Fill in a pod's defaults, in place."""
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for container in _containers(spec):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def begin_pod(pod: Object) -> None:
    """Give a new pod its first status, in place."""
    pod["status"] = {"phase": "Pending", "qosClass": _quality_of_service(pod["spec"])}


def complete_status(pod: Object) -> None:
    """Complete a pod's status in place: its quality of service follows from its spec."""
    default_pod_status(pod)
    pod["status"].setdefault("qosClass", _quality_of_service(pod["spec"]))


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _quality_of_service(spec: Object) -> str:
    """Return the QoS class; see https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/."""
    amounts = [
        (container["resources"].get("requests") or {}, container["resources"].get("limits") or {})
        for container in _containers(spec)
    ]
    if not any(name in one for both in amounts for one in both for name in _COMPUTE):
        return "BestEffort"
    guaranteed = all(limits.get(name) and limits[name] == requests.get(name)
                     for requests, limits in amounts for name in _COMPUTE)  # fmt: skip
    return "Guaranteed" if guaranteed else "Burstable"


def check_pod(pod: Object) -> list[Cause]:
    """Check a new pod."""
    return check_spec(pod["spec"], "spec")


def check_pod_update(new: Object, old: Object) -> list[Cause]:
    """Check a pod's new spec: almost all of it is immutable."""
    spec, old_spec = new["spec"], old["spec"]
    causes = check_spec(spec, "spec")
    if spec == old_spec:
        return causes
    allowed = clone(spec)
    for field in ("containers", "initContainers"):
        mine, theirs = allowed.get(field) or [], old_spec.get(field) or []
        if len(mine) != len(theirs):
            return [*causes, forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
        for container, other in zip(mine, theirs, strict=True):
            container["image"] = other["image"]
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        allowed.pop(field, None)
        if field in old_spec:
            allowed[field] = old_spec[field]
    return causes if allowed == old_spec else [*causes, forbidden("spec", _UPDATABLE)]
