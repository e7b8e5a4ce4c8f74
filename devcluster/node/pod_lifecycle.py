"""What a pod does next, its phase and its status, all computed from the states of its containers. No processes here.

See https://kubernetes.io/docs/concepts/workloads/pods/init-containers/,
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/, `getPhase` in `kubelet_pods.go` and
`pkg/kubelet/status/generate.go`.
"""

from collections.abc import Sequence
from datetime import datetime

from devcluster.controllers.conditions import find_condition, put_condition
from devcluster.node.container import Container
from devcluster.objects import Object, clone, to_time


def count_startable(containers: Sequence[Container]) -> int:
    """Return how many containers, from the first on, may run: one init container after the other, then the others.

    Args:
        containers: of one pod, the init containers first, in the order of its spec.
    """
    if not _is_initialized(containers):
        for index, container in enumerate(containers):
            if container.is_init and not container.is_complete():
                return index + 1
    return len(containers)


def has_failed_to_initialize(containers: Sequence[Container], policy: str) -> bool:
    """Return whether an init container has failed and is not restarted, so that no other container starts."""
    return any(
        container.ended is not None
        and container.ended.exit_code != 0
        and not container.restarts_after(container.ended.exit_code, policy)
        for container in containers
        if container.is_init and not container.is_sidecar
    )


def is_done(containers: Sequence[Container], policy: str) -> bool:
    """Return whether all regular containers have ended and none is restarted, so that the sidecars are to end."""
    regular = [container for container in containers if not container.is_init]
    return all(
        container.ended is not None and not container.restarts_after(container.ended.exit_code, policy)
        for container in regular
    )


def _is_initialized(containers: Sequence[Container]) -> bool:
    """Return whether a regular container has run. From then on, sidecars that restart hold up nothing."""
    return any(container.has_run for container in containers if not container.is_init)


def phase_of(containers: Sequence[Container], policy: str, *, is_over: bool) -> str:
    """Return the pod's phase; `is_over` when no container will be restarted, whatever the policy."""
    runs = any(container.is_live() for container in containers)
    if has_failed_to_initialize(containers, policy):
        return "Pending" if runs else "Failed"  # a sidecar is being ended
    initial = [container for container in containers if container.is_init]
    lasting = [container for container in containers if container.is_sidecar or not container.is_init]
    waits = any(container.waiting and not container.last for container in lasting)
    if waits or (not _is_initialized(containers) and not all(container.is_complete() for container in initial)):
        return "Failed" if is_over and not runs else "Pending"
    if runs:
        return "Running"
    regular = [container for container in containers if not container.is_init]
    ends = [(container, end.exit_code) for container in regular if (end := container.ended or container.last)]
    if not is_over and any(container.restarts_after(code, policy) for container, code in ends):
        return "Running"
    return "Failed" if any(code for _, code in ends) else "Succeeded"


def pod_status(
    old: Object, containers: Sequence[Container], *, pod: Object, phase: str, ip: str, host_ip: str, now: datetime
) -> Object:
    """Return the status of a pod on the node, based on its old status."""
    status = clone(old)
    uid: str = pod["metadata"]["uid"]
    status["phase"] = phase
    status["hostIP"], status["hostIPs"] = host_ip, [{"ip": host_ip}]
    status["podIP"], status["podIPs"] = ip, [{"ip": ip}]
    status.setdefault("startTime", to_time(now))
    status["containerStatuses"] = sorted(
        (container.to_status(uid) for container in containers if not container.is_init),
        key=lambda entry: str(entry["name"]),
    )
    if initial := [container.to_status(uid) for container in containers if container.is_init]:
        status["initContainerStatuses"] = initial  # in their order
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    ready = _ready_condition(containers, over)
    if not find_condition(status, "PodScheduled"):
        put_condition(status, {"type": "PodScheduled", "status": "True", "lastProbeTime": None}, now)
    for type_, condition in (
        ("PodReadyToStartContainers", {"status": "False" if over else "True"}),
        ("Initialized", _initialized_condition(containers, phase)),
        ("Ready", ready),
        ("ContainersReady", ready),
    ):
        known = find_condition(status, type_)
        probe = known.get("lastProbeTime") if known else None
        put_condition(status, {"type": type_, "lastProbeTime": probe, **condition}, now)
    return status


def _ready_condition(containers: Sequence[Container], over: str | None) -> Object:
    if over:
        return {"status": "False", "reason": over}
    unready = [
        container.name
        for container in containers
        if not container.is_ready and (container.is_sidecar or not container.is_init)
    ]
    if not unready:
        return {"status": "True"}
    message = f"containers with unready status: [{' '.join(unready)}]"
    return {"status": "False", "reason": "ContainersNotReady", "message": message}


def _initialized_condition(containers: Sequence[Container], phase: str) -> Object:
    if phase == "Succeeded":
        return {"status": "True", "reason": "PodCompleted"}
    incomplete = [
        container.name
        for container in containers
        if container.is_init and not (container.is_started if container.is_sidecar else container.is_complete())
    ]
    if not incomplete or _is_initialized(containers):
        return {"status": "True"}
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return {"status": "False", "reason": "ContainersNotInitialized", "message": message}
