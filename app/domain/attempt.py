"""Attempts at a run: its pods, in small records, because a pod itself takes 8 KiB and more."""

from dataclasses import dataclass

RESULT_BYTES = 4096
"""The most of a termination message that is kept. The kubelet has the same bound for one container."""


@dataclass(frozen=True, slots=True)
class Termination:
    """How a container ended.

    Attributes:
        exit_code: of its process.
        reason: the kubelet's word for it, such as `Error` or `OOMKilled`.
        result: its termination message, at most `RESULT_BYTES` of UTF-8.
        ended_at: microseconds since the epoch; `None`: nobody has said.
    """

    exit_code: int
    reason: str
    result: str
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """What keeps a pod from going on.

    Attributes:
        reason: one CamelCase word.
        message: the kubelet's or the scheduler's own words; may be empty.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pod of a run.

    Attributes:
        owner: the uid of the Job that owns the pod.
        pod: its name.
        created_at: microseconds since the epoch; Kubernetes gives whole seconds.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        running: whether the run's container runs now.
        restarts: how often the kubelet has started that container again.
        trouble: why the container doesn't run yet, or why the pod failed as a whole; `None`: nothing known.
        ending: how that container ended last; `None`: it hasn't.
    """

    owner: str
    pod: str
    created_at: int
    phase: str
    running: bool
    restarts: int
    trouble: WaitingReason | None
    ending: Termination | None


_ATTEMPTS_KEPT = 32
"""Kubernetes waits up to six minutes between two attempts."""

_WITHIN_A_SECOND = {"Failed": 0, "Succeeded": 1}
"""Of pods made in the same second, one that failed was followed by the others."""


def sort_attempts(attempts: list[Attempt]) -> list[Attempt]:
    """Attempts from the first to the last; the same ones are always in the same order."""
    return sorted(attempts, key=lambda one: (one.created_at, _WITHIN_A_SECOND.get(one.phase, 2), one.pod))


def keep_last(attempts: list[Attempt]) -> list[Attempt]:
    """Forget the first attempts where there are very many: their results would fill the memory."""
    return attempts if len(attempts) <= _ATTEMPTS_KEPT else sort_attempts(attempts)[1:]
