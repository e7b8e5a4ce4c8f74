"""The state of one container, and the status computed from it. No processes here.

See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from devcluster.objects import Object, to_time
from devcluster.restarts import restarts_after


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
    """One container of a pod: it waits, runs (`started_at`, Unix time in seconds) or has ended.

    `is_started` is whether it runs and its startup probe, if it has one, has succeeded; `has_initialized` whether that
    was ever so.
    """

    spec: Object
    is_init: bool = False
    waiting: Waiting | None = field(default_factory=Waiting)
    started_at: float | None = None
    ended: Ended | None = None
    last: Ended | None = None  # the end of the previous run
    restarts: int = 0
    failures: int = 0  # consecutive restarts with backoff
    is_started: bool = False
    has_initialized: bool = False
    is_ready: bool = False
    is_launching: bool = False  # a process was requested and has not started yet

    @property
    def name(self) -> str:
        """The container's name in its pod."""
        return str(self.spec["name"])

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that runs on beside the regular containers.

        See https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/.
        """
        return self.is_init and self.spec.get("restartPolicy") == "Always"

    @property
    def has_run(self) -> bool:
        """Whether it runs, or has run."""
        return self.started_at is not None or self.ended is not None or self.last is not None

    def is_complete(self) -> bool:
        """Return whether the next init container may start: it has succeeded, or a sidecar has started."""
        if self.is_sidecar:
            return self.has_initialized
        return self.ended is not None and self.ended.exit_code == 0

    def restarts_after(self, exit_code: int, pod_policy: str) -> bool:
        """Return whether it is restarted after this exit code.

        An init container that has succeeded is not, unless it is a sidecar.
        """
        if self.is_init and not self.is_sidecar and exit_code == 0:
            return False
        return restarts_after(self.spec, exit_code, pod_policy)

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
            "ready": self.is_complete() if self.is_init and not self.is_sidecar else self.is_ready,
            "started": self.is_started,
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


def _moment(seconds: float) -> str:
    return to_time(datetime.fromtimestamp(seconds, UTC))
