"""Queued runs that are left out of the choice for a while: refused, suspended again by somebody, or just created."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

from app.dispatcher.run_store import RunStore


class _Parked(NamedTuple):
    """Until when a run is left out.

    Attributes:
        until: when it is chosen again.
        version: the run is chosen again earlier if its resourceVersion is no longer this one; `None`: it is not.
        to_the_end: whether it then goes to the end of the queue.
    """

    until: float
    version: int | None
    to_the_end: bool


class ParkedRuns:
    """The parked runs of a store.

    Args:
        runs: the store.
        server_clock: seconds since the epoch by the API server's clock.
    """

    def __init__(self, runs: RunStore, server_clock: Callable[[], float]) -> None:
        self._runs = runs
        self._server_clock = server_clock
        self._parked: dict[str, _Parked] = {}
        self._timers: list[tuple[float, str]] = []

    def park(self, uid: str, until: float, *, version: int | None = None, to_the_end: bool = False) -> None:
        """Park a run.

        Args:
            uid: the run's.
            until: when it is chosen again.
            version: it is chosen again earlier, at its own place, if its resourceVersion is no longer this one.
            to_the_end: whether it goes to the end of the queue then.
        """
        self._parked[uid] = _Parked(until, version, to_the_end)
        heappush(self._timers, (until, uid))
        self._runs.park(uid)

    def observe(self, uid: str, version: int) -> None:
        """Unpark a run that was parked in one version, if it now has another: a new attempt may succeed."""
        parked = self._parked.get(uid)
        if parked is not None and parked.version not in (None, version):
            del self._parked[uid]
            self._runs.unpark(uid)

    def forget(self, uid: str) -> None:
        """Forget a run that is over."""
        self._parked.pop(uid, None)

    def unpark_due(self, now: float) -> None:
        """Unpark the runs whose time is over."""
        while self._timers and self._timers[0][0] <= now:
            _, uid = heappop(self._timers)
            parked = self._parked.get(uid)
            if parked is None or parked.until > now:
                continue
            del self._parked[uid]
            run = self._runs.get(uid)
            # Behind all runs that are queued by now: the API server's clock is known in whole seconds only.
            end = int((self._server_clock() + 1) * 1_000_000)
            self._runs.unpark(uid, (end, run.name) if run is not None and parked.to_the_end else None)

    def seconds_left(self, now: float) -> float:
        """Return in how many seconds the next run may have to be unparked; infinite: none is parked."""
        return self._timers[0][0] - now if self._timers else float("inf")
