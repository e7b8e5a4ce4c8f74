"""Which ends of runs are counted: each once, by the dispatcher that leads. Decides nothing else.

The leader sees an end as a change in its watch. Ends that no leader was watching are in the first list of the next one.
So that nothing is stored, the next leader believes that its predecessor has counted everything until it last renewed
the Lease. What this means for the counts is in docs/operations.md ("How ends are counted").
"""

from collections.abc import Callable
from typing import NamedTuple

from app.domain.run import Phase, Run
from app.domain.run_end import RunEnd
from app.kube.reflector import SILENCE_SECONDS

_LOOK_BACK_SECONDS = 24 * 3600.0
"""Ends that are longer ago than this when a dispatcher begins to lead are not counted, whatever the Lease says."""

_MARGIN_SECONDS = SILENCE_SECONDS + 60.0
"""How late a leader may learn of an end: its watch may have been silent, and the cluster's clocks differ a little."""

_FORGET_SECONDS = 60.0
"""How often counted ends that can't come again are forgotten."""

_MOST_COUNTED = 10_000
"""How many counted ends are remembered, so that none is counted twice: about 1 MiB."""


class CountedEnd(NamedTuple):
    """An end that is to be counted and logged now."""

    run: Run
    end: RunEnd


class RunEnds:
    """Notices each end once. The caller of every method holds the lock of the signal.

    Args:
        server_clock: seconds since the epoch, by the API server's clock.
        take: is given each end. It must return at once.
    """

    def __init__(self, server_clock: Callable[[], float], take: Callable[[CountedEnd], None]) -> None:
        self._server_clock = server_clock
        self._take = take
        self._since = float("inf")  # in microseconds; ends of runs that were not known are counted from then on
        self._counted: dict[str, int] = {}  # by uid, when it ended

    def begin_term(self, predecessor_renewed_at: int | None) -> None:
        """Begin to count.

        Args:
            predecessor_renewed_at: when the Lease was last renewed, microseconds since the epoch; `None`: never.
        """
        now = self._now()
        earliest = now - int(_LOOK_BACK_SECONDS * 1_000_000)
        since = now if predecessor_renewed_at is None else min(now, max(predecessor_renewed_at, earliest))
        self._since = since - since % 1_000_000  # Kubernetes cuts the times of ends to whole seconds

    def pass_time(self) -> None:
        """Forget what a current view can't show any more as a new end."""
        oldest = self._now() - int(_MARGIN_SECONDS * 1_000_000)
        if oldest < self._since + int(_FORGET_SECONDS * 1_000_000):
            return
        self._since = oldest
        self._counted = {uid: moment for uid, moment in self._counted.items() if moment >= self._since}

    def change(self, before: Run | None, after: Run | None) -> None:
        """Look at a change of the runs.

        Args:
            before: the run as it was known; `None`: it was not known, or had ended before.
            after: as it is; `None`: it is gone.
        """
        if after is None:
            if before is not None:
                self._count(before, RunEnd("cancelled"))
        elif after.phase is Phase.FINISHED and after.end is not None:
            is_new = after.end.ended_at is not None and after.end.ended_at >= self._since
            if before is not None or is_new:
                self._count(after, after.end)

    def _count(self, run: Run, end: RunEnd) -> None:
        if run.uid in self._counted:
            return
        if len(self._counted) >= _MOST_COUNTED:
            oldest = next(iter(self._counted))
            self._since = max(self._since, self._counted.pop(oldest) + 1)
        self._counted[run.uid] = self._now() if end.ended_at is None else end.ended_at
        self._take(CountedEnd(run, end))

    def _now(self) -> int:
        return int(self._server_clock() * 1_000_000)
