"""Whether an admitted run has started in time: a pure decision over its pods."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.attempt import CONFIGURATION_ERRORS, IMAGE_ERRORS, Attempt
from app.domain.run import PendingStart

_LONGEST_BACK_OFF_SECONDS = 600
"""The longest that Kubernetes waits before it makes the next pod. Its documentation says 6 minutes, its code 10:
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy"""

_LOOK_AGAIN_SECONDS = 10
"""How long to leave a run alone, at least, of which an init container runs: each look reads its pods."""

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class StartDeadline:
    """Until when a run must have started.

    Attributes:
        due: until when, microseconds since the epoch by the cluster's clock.
        why: what has kept it, for people.
        has_pod: whether the attempt under way has a pod.
    """

    due: int
    why: str
    has_pod: bool


@dataclass(frozen=True, slots=True)
class StartError:
    """An error of an image or of a container's configuration that keeps an attempt from starting.

    Attributes:
        pod: the attempt's pod.
        pending_since: since when that pod waits for its next container to start, microseconds since the epoch. When
            an init container ends, what comes next has its own time.
        seen_at: when a dispatcher saw it first, microseconds since the epoch by the cluster's clock. The kubelet does
            not write since when a container waits.
    """

    pod: str
    pending_since: int
    seen_at: int


def find_start_error(attempts: Sequence[Attempt], known: StartError | None, now: int) -> StartError | None:
    """Say whether an image or the configuration of a container keeps the attempt under way from starting.

    Args:
        attempts: at a run, from the first to the last.
        known: what was found before.
        now: microseconds since the epoch, by the cluster's clock.

    Returns:
        The same error as before if it is of the same pod, and no init container of it has ended since; `None`: there
        is none. A missing node is no such error.
    """
    last = _under_way(attempts)
    if last is None or last.has_started or last.initializing or last.waiting_reason is None:
        return None
    if last.waiting_reason.reason not in IMAGE_ERRORS | CONFIGURATION_ERRORS:
        return None
    found = StartError(last.pod, last.pending_since, now)
    return known if known is not None and replace(found, seen_at=known.seen_at) == known else found


def describe_start_error(attempts: Sequence[Attempt], error: StartError, now: int, limit_seconds: int) -> str:
    """Say for people why a run with such an error is ended, and which setting does that."""
    last = _under_way(attempts)
    told = "" if last is None else f": {_tell(last)}"
    return (
        f"an image or the configuration of a container has kept it from starting for at least "
        f"{(now - error.seen_at) // 1_000_000} s (SLIMFAAS_START_ERROR_TIMEOUT_SECONDS is {limit_seconds}){told}"
    )


def find_start_deadline(awaited: PendingStart, attempts: Sequence[Attempt], now: int) -> StartDeadline | None:
    """Say until when the attempt under way must have started, and what keeps it from that.

    Guarantees:
        - a container that runs, or has run in the same pod, has started: crashes and restarts are no waiting;
        - an init container that runs, or is restarted, is no waiting either; once it has ended, the next container has
          the whole time to start;
        - each attempt has the whole time for itself, from when its pod was made;
        - Kubernetes' pause before a retry doesn't count.

    Args:
        awaited: as the Job says, with its seconds.
        attempts: at this run, from the first to the last.
        now: microseconds since the epoch, by the cluster's clock.

    Returns:
        The deadline; `None`: the run does not wait for a container to start, or its pods don't tell since when. This
            stays so until the Job changes.
    """
    last = _under_way(attempts)
    if last is not None:
        if last.has_started:
            return None
        if last.initializing:
            # The Job does not change when an init container ends, so look again.
            seconds = max(_LOOK_AGAIN_SECONDS, awaited.seconds or 0)
            return StartDeadline(now + seconds * 1_000_000, "an init container runs", has_pod=True)
        since = max(last.created_at, last.pending_since)
        after = "" if since == last.created_at else " after its init containers"
        why = f"its container has not started within {awaited.seconds} s{after}: {_tell(last)}"
        return _deadline(awaited, since, why, has_pod=True)
    why = f"no pod could be made within {awaited.seconds} s (a quota, a missing ServiceAccount, or a policy)"
    if not attempts and not awaited.has_failed:
        return _deadline(awaited, awaited.since, why, has_pod=False)
    last_ended = attempts[-1].ending if attempts and attempts[-1].phase == "Failed" else None
    if last_ended is None or last_ended.ended_at is None:
        return None
    return _deadline(awaited, last_ended.ended_at + _LONGEST_BACK_OFF_SECONDS * 1_000_000, why, has_pod=False)


def _under_way(attempts: Sequence[Attempt]) -> Attempt | None:
    return next((attempt for attempt in reversed(attempts) if attempt.phase not in _ENDED), None)


def _deadline(awaited: PendingStart, since: int, why: str, *, has_pod: bool) -> StartDeadline:
    assert awaited.seconds is not None
    return StartDeadline(max(since, awaited.since) + awaited.seconds * 1_000_000, why, has_pod)


def _tell(attempt: Attempt) -> str:
    waiting = attempt.waiting_reason
    if waiting is None:
        return "the cluster gives no reason"
    return f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
