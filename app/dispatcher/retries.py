"""Runs that are tried again later."""

from collections.abc import Callable
from dataclasses import dataclass

from app.dispatcher.tables import RunTable
from app.domain.run import Phase, Run

_FIRST_BACKOFF_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class _Retry:
    """One run to try again.

    Attributes:
        resource_version: the version of the run that was tried.
        tried_at: when it was, by the clock.
        due: when it is to be tried again.
        pause_seconds: how long it is held back this time.
    """

    resource_version: int
    tried_at: float
    due: float
    pause_seconds: float


class Retries:
    """Queued runs to be tried again, each after a pause that doubles; one that has changed is not held back.

    Args:
        clock: seconds that never go back.
        last_backoff_seconds: how long the pauses become at most.
    """

    def __init__(self, clock: Callable[[], float], last_backoff_seconds: float) -> None:
        self._clock = clock
        self._last_backoff_seconds = last_backoff_seconds
        self._by_uid: dict[str, _Retry] = {}

    def __bool__(self) -> bool:
        return bool(self._by_uid)

    def __contains__(self, uid: str) -> bool:
        return uid in self._by_uid

    def add(self, run: Run, *, at_most_seconds: float = float("inf")) -> None:
        """Hold this version of a run back, longer each time, and at most for so long this time."""
        last = self._by_uid.get(run.uid)
        pause_seconds = _FIRST_BACKOFF_SECONDS
        if last is not None and last.resource_version == run.resource_version:
            pause_seconds = max(last.pause_seconds * 2, _FIRST_BACKOFF_SECONDS)
        pause_seconds = min(pause_seconds, self._last_backoff_seconds, at_most_seconds)
        now = self._clock()
        self._by_uid[run.uid] = _Retry(run.resource_version, now, now + pause_seconds, pause_seconds)

    def add_due(self, run: Run) -> None:
        """Add this version of a run without a pause before its next try."""
        now = self._clock()
        self._by_uid[run.uid] = _Retry(run.resource_version, now, now, 0.0)

    def forget(self, run: Run) -> None:
        """Drop a run."""
        self._by_uid.pop(run.uid, None)

    def forget_changed(self, runs: RunTable) -> None:
        """Drop the runs that are gone, no longer queued, or in another version than the one that was tried."""
        self._by_uid = {uid: retry for uid, retry in self._by_uid.items() if _is_same(runs.get(uid), retry)}

    def uids(self) -> set[str]:
        """All of them."""
        return set(self._by_uid)

    def due(self) -> dict[str, float]:
        """Those whose pause is over, and for how many seconds it has been."""
        now = self._clock()
        return {uid: now - retry.due for uid, retry in self._by_uid.items() if retry.due <= now}

    def was_tried(self, uid: str) -> bool:
        """Whether it has been held back: it is not here without a try."""
        return uid in self._by_uid and self._by_uid[uid].pause_seconds > 0

    def tried_at(self, uid: str) -> float:
        """When it was last tried; infinite: it isn't here."""
        return self._by_uid[uid].tried_at if uid in self._by_uid else float("inf")

    def seconds_left(self) -> float:
        """How long until the next pause is over; infinite where there is none that isn't."""
        now = self._clock()
        return min((retry.due - now for retry in self._by_uid.values() if retry.due > now), default=float("inf"))


def _is_same(run: Run | None, retry: _Retry) -> bool:
    return run is not None and run.phase is Phase.QUEUED and run.resource_version == retry.resource_version
