"""The state of the node's pods and containers, and the status computed from it. No processes here.

See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and `getPhase` in `kubelet_pods.go`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from devcluster.controllers.conditions import find_condition, put_condition
from devcluster.objects import Object, clone, to_time


@dataclass(frozen=True)
class Waiting:
    """The reason why a container is not running yet, or not running again yet."""

    reason: str = "ContainerCreating"
    message: str = ""


@dataclass(frozen=True)
class Ended:
    """The end of a container's run. `started_at` and `finished_at` are Unix time in seconds."""

    exit_code: int
    reason: str
    message: str
    started_at: float
    finished_at: float
    container_id: str

    def to_state(self) -> Object:
        """Return the JSON form: a `ContainerStateTerminated`."""
        state: Object = {
            "exitCode": self.exit_code,
            "reason": self.reason,
            "startedAt": _moment(self.started_at),
            "finishedAt": _moment(self.finished_at),
            "containerID": self.container_id,
        }
        return state | ({"message": self.message} if self.message else {})


@dataclass
class Container:
    """One container of a pod: it waits, runs (`started_at`, Unix time in seconds) or has ended."""

    spec: Object
    waiting: Waiting | None = field(default_factory=Waiting)
    started_at: float | None = None
    ended: Ended | None = None
    last: Ended | None = None  # the end of the previous run
    restarts: int = 0
    failures: int = 0  # consecutive restarts with backoff
    is_ready: bool = False
    is_launching: bool = False  # a process was requested and has not started yet

    @property
    def name(self) -> str:
        """The container's name in its pod."""
        return str(self.spec["name"])

    def container_id(self, pod_uid: str) -> str:
        """Return the id of the current run, in the format of a container runtime."""
        return f"devcluster://{pod_uid}/{self.name}/{self.restarts}"

    def is_live(self) -> bool:
        """Return whether the container has a process, or soon will."""
        return self.is_launching or self.started_at is not None

    def to_status(self, pod_uid: str) -> Object:
        """Return the JSON form: a `ContainerStatus`."""
        status: Object = {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": "" if self.waiting and not self.last else f"devcluster://{self.spec['image']}",
            "restartCount": self.restarts,
            "ready": self.is_ready,
            "started": self.started_at is not None,
            "state": self._state(),
            "lastState": {"terminated": self.last.to_state()} if self.last else {},
        }
        latest = self.ended or (self.last if self.waiting else None)
        if latest or not self.waiting:
            status["containerID"] = latest.container_id if latest else self.container_id(pod_uid)
        return status

    def _state(self) -> Object:
        if self.started_at is not None:
            return {"running": {"startedAt": _moment(self.started_at)}}
        if self.ended:
            return {"terminated": self.ended.to_state()}
        assert self.waiting
        parts = {"reason": self.waiting.reason, "message": self.waiting.message}
        return {"waiting": {key: value for key, value in parts.items() if value}}


def should_restart(policy: str, exit_code: int) -> bool:
    """Return whether the pod's restartPolicy restarts a container with this exit code."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def phase_of(containers: list[Container], policy: str, *, is_over: bool) -> str:
    """Return the pod's phase; `is_over` when no container will be restarted, whatever the policy."""
    if any(container.waiting and not container.last for container in containers):
        return "Failed" if is_over else "Pending"
    codes = [end.exit_code for container in containers if (end := container.ended or container.last)]
    if any(container.started_at is not None for container in containers):
        return "Running"
    if not is_over and any(should_restart(policy, code) for code in codes):
        return "Running"
    return "Failed" if any(codes) else "Succeeded"


def pod_status(
    old: Object, containers: list[Container], *, pod: Object, phase: str, ip: str, host_ip: str, now: datetime
) -> Object:
    """Return the status of a pod on the node, based on its old status."""
    status = clone(old)
    uid: str = pod["metadata"]["uid"]
    status["phase"] = phase
    status["hostIP"], status["hostIPs"] = host_ip, [{"ip": host_ip}]
    status["podIP"], status["podIPs"] = ip, [{"ip": ip}]
    status.setdefault("startTime", to_time(now))
    status["containerStatuses"] = sorted(
        (container.to_status(uid) for container in containers), key=lambda entry: str(entry["name"])
    )
    unready = [container.name for container in containers if not container.is_ready]
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    ready: Object = {"status": "True"}
    if over:
        ready = {"status": "False", "reason": over}
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": message}
    initialized: Object = {"status": "True"}
    if phase == "Succeeded":
        initialized["reason"] = "PodCompleted"
    if not find_condition(status, "PodScheduled"):
        put_condition(status, {"type": "PodScheduled", "status": "True", "lastProbeTime": None}, now)
    for type_, condition in (
        ("PodReadyToStartContainers", {"status": "False" if over else "True"}),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", ready),
    ):
        known = find_condition(status, type_)
        probe = known.get("lastProbeTime") if known else None
        put_condition(status, {"type": type_, "lastProbeTime": probe, **condition}, now)
    return status


def _moment(seconds: float) -> str:
    return to_time(datetime.fromtimestamp(seconds, UTC))
