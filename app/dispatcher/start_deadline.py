"""Whether an admitted run has started in time: a pure decision over its pods."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.attempt import Attempt
from app.domain.run import PendingStart

_LONGEST_BACK_OFF_SECONDS = 600
"""The longest that Kubernetes waits before it makes the next pod. Its documentation says 6 minutes, its code 10:
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy"""

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class StartDeadline:
    """Until when a run must have started.

    Attributes:
        due: until when, microseconds since the epoch by the cluster's clock.
        why: what has kept it, for people.
    """

    due: int
    why: str


def find_start_deadline(awaited: PendingStart, attempts: Sequence[Attempt]) -> StartDeadline | None:
    """Say until when the attempt under way must have started, and what keeps it from that.

    Guarantees:
        - a container that runs, or has run in the same pod, has started: crashes and restarts are no waiting;
        - each attempt has the whole time for itself, from when its pod was made;
        - Kubernetes' pause before a retry doesn't count.

    Args:
        awaited: as the Job says.
        attempts: at this run, from the first to the last.

    Returns:
        `None`: nothing is waited for, as far as anybody can tell, until the Job changes.
    """
    under_way = [attempt for attempt in attempts if attempt.phase not in _ENDED]
    if under_way:
        last = under_way[-1]
        if last.running or last.restarts or last.ending is not None:
            return None
        why = f"its container has not started within {awaited.seconds} s: {_tell(last)}"
        return _deadline(awaited, last.created_at, why)
    why = f"no pod could be made within {awaited.seconds} s (a quota, a missing ServiceAccount, or a policy)"
    if not attempts and not awaited.has_failed:
        return _deadline(awaited, awaited.since, why)
    last_ended = attempts[-1].ending if attempts and attempts[-1].phase == "Failed" else None
    if last_ended is None or last_ended.ended_at is None:
        return None
    return _deadline(awaited, last_ended.ended_at + _LONGEST_BACK_OFF_SECONDS * 1_000_000, why)


def _deadline(awaited: PendingStart, since: int, why: str) -> StartDeadline:
    return StartDeadline(max(since, awaited.since) + awaited.seconds * 1_000_000, why)


def _tell(attempt: Attempt) -> str:
    trouble = attempt.trouble
    if trouble is None:
        return "nobody has said why"
    return f"{trouble.reason}: {trouble.message}" if trouble.message else trouble.reason
