"""Attempts at a run: its pods, as small records, because a pod itself takes 8 KiB and more."""

from dataclasses import dataclass

RESULT_BYTES = 4096
"""The most that is kept of a termination message. The kubelet has the same limit for one container."""


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
    """One pod of a run.

    Attributes:
        owner: the uid of the Job that owns the pod.
        pod: the pod's name.
        created_at: microseconds since the epoch; Kubernetes gives whole seconds.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        running: whether the run's container runs now.
        restarts: how often the kubelet has restarted that container.
        trouble: why the container does not run yet, or why the pod failed as a whole; `None`: nothing is known.
        ending: how that container ended last; `None`: it has not ended.
    """

    owner: str
    pod: str
    created_at: int
    phase: str
    running: bool
    restarts: int
    trouble: WaitingReason | None
    ending: Termination | None


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
