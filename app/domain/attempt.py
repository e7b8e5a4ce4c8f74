"""Attempts at a run: its pods, as small records, because a pod itself takes 8 KiB and more."""

from dataclasses import dataclass, replace

RESULT_BYTES = 4096
"""The most that is kept of a termination message. The kubelet has the same limit for one container."""

IMAGE_ERRORS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""The kubelet's reasons why an image is not there: `pkg/kubelet/images/types.go` of Kubernetes, and
https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff"""

CONFIGURATION_ERRORS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
"""The kubelet's reasons why a container cannot be made as configured, such as a missing Secret."""

SIDECAR_RUNNING = "SidecarRunning"
"""The reason of a pod that goes on because other containers run after the run's own has ended."""

INIT_CONTAINER_FAILED = "InitContainerFailed"
"""The reason of a pod whose init container has ended with an exit code other than 0."""

CONTAINER_FAILED = "ContainerFailed"
"""The reason of a pod in which another container than the run's has ended with an exit code other than 0."""

OOM_KILLED = "OOMKilled"
"""The kubelet's reason for a container in which the kernel killed a process because memory ran out. If that was not the
container's first process, the exit code may be 0: https://github.com/kubernetes/kubernetes/issues/116042"""

FAILED_CREATE = "FailedCreate"
"""The Job controller's reason, on an Event, for a pod that could not be created."""

FAILED_MOUNT = "FailedMount"
"""The kubelet's reason, on an Event, for a pod whose volumes can't be mounted."""

CREATING = "ContainerCreating"
"""What every container waits for while the volumes, the network and the image are fetched."""

INITIALIZING = "PodInitializing"
"""What every container waits for until the init containers before it have ended."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container ended.

    Attributes:
        exit_code: of its process.
        reason: the kubelet's word, such as `Error` or `OOMKilled`.
        result: its termination message, at most `RESULT_BYTES` of UTF-8.
        ended_at: microseconds since the epoch; `None`: unknown.
    """

    exit_code: int
    reason: str
    result: str
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """Why a pod does not go on.

    Attributes:
        reason: one CamelCase word.
        message: in the words of the kubelet or the scheduler; may be empty.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pod of a run, as an attempt of one of its containers: of the run's own, unless a log of another is wanted.

    Attributes:
        owner: the uid of the Job that owns the pod.
        pod: the pod's name.
        created_at: microseconds since the epoch; Kubernetes gives whole seconds.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        running: whether the run's container runs now.
        restarts: how often the kubelet has restarted that container.
        waiting_reason: why the container does not run yet, why the pod goes on although the container is over, or why
            the pod failed as a whole; `None`: nothing is known.
        ending: how that container ended last; `None`: it has not ended.
        over: whether that container has ended and is not restarted.
        failure: why the pod has failed, where that container's exit code does not tell it: the pod was evicted or
            preempted, or another container failed. `None`: it has not failed, or the exit code tells it.
        container: that container's name.
        other_failure: how another container has failed, or what keeps it from running; `None`: nothing is known.
        initializing: whether an init container runs, or has failed and is restarted.
        pending_since: when the last init container ended, or else when the pod was made, microseconds since the epoch.
            While no init container runs, the pod waits since then for its next container to start.
        prepared: whether the pod's volumes are mounted and its network is there. Older kubelets say it late, or never:
            https://kubernetes.io/docs/concepts/workloads/pods/pod-condition/
    """

    owner: str
    pod: str
    created_at: int
    phase: str
    running: bool
    restarts: int
    waiting_reason: WaitingReason | None
    ending: Termination | None
    over: bool = False
    failure: WaitingReason | None = None
    container: str = ""
    other_failure: WaitingReason | None = None
    initializing: bool = False
    pending_since: int = 0
    prepared: bool = False

    @property
    def has_started(self) -> bool:
        """Whether the run's container runs or has run in this pod."""
        return self.running or self.restarts > 0 or self.ending is not None

    @property
    def may_await_volumes(self) -> bool:
        """Whether the pod may wait for its volumes. Its own status does not tell."""
        return (
            self.phase == "Pending"
            and not (self.prepared or self.initializing or self.has_started)
            and self.waiting_reason in _NOTHING_TOLD
        )

    def without_volumes(self, why: str) -> "Attempt":
        """Return the attempt as one whose pod waits for its volumes.

        Args:
            why: they are not mounted.
        """
        message = f"its volumes can't be mounted, and Kubernetes tries again: {why}"
        return replace(self, waiting_reason=WaitingReason(FAILED_MOUNT, message))


_NOTHING_TOLD = (
    None,
    WaitingReason(CREATING, ""),
    WaitingReason(INITIALIZING, ""),
)
"""What a pod waits for by its own status while its volumes are mounted, and also later."""

_MAX_ATTEMPTS = 32
"""How many attempts are kept. Kubernetes waits up to six minutes between two attempts."""

_ORDER_WITHIN_A_SECOND = {"Failed": 0, "Succeeded": 1}
"""Of pods that were made in the same second, the failed one came first: the others followed it."""


def sort_attempts(attempts: list[Attempt]) -> list[Attempt]:
    """Return attempts from the first to the last, always in the same order."""
    return sorted(attempts, key=lambda attempt: (attempt.created_at, _rank(attempt), attempt.pod))


def keep_last(attempts: list[Attempt]) -> list[Attempt]:
    """Drop the first attempt if there are too many: the results of very many attempts would fill the memory."""
    return attempts if len(attempts) <= _MAX_ATTEMPTS else sort_attempts(attempts)[1:]


def _rank(attempt: Attempt) -> int:
    return _ORDER_WITHIN_A_SECOND.get(attempt.phase, 2)
