"""The queue in figures, for the metrics of the dispatcher that leads."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from app.dispatcher.tables import Changes, RunTable
from app.telemetry import metrics

_PAUSE_SECONDS = 1.0
"""How often the figures are made anew, however often something changes."""


class Figures:
    """Shows how the queue stands.

    Args:
        changes: shared with the tables.
        clock: seconds that never go back.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self, changes: Changes, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._changes = changes
        self._clock = clock
        self._wall_clock = wall_clock
        self._gauges = metrics.QueueGauges()
        self._due = float("-inf")

    def show(self, runs: RunTable, slots: Mapping[str, int], doubts: int) -> None:
        """Show how it stands now, if it is time again.

        Args:
            runs: as far as they are known.
            slots: by definition; runs of others, removed ones, count as `metrics.UNKNOWN`.
            doubts: how many runs are in doubt.
        """
        if self._clock() < self._due:
            return
        self._due = self._clock() + _PAUSE_SECONDS
        queued: Counter[str] = Counter()
        active: Counter[str] = Counter()
        first: dict[str, int] = {}
        with self._changes.lock:
            for name, line in runs.lines().items():
                definition = name if name in slots else metrics.UNKNOWN
                queued[definition] += sum(map(len, line.queued.values()))
                active[definition] += line.admitted
                heads = [group[0].queued_at for group in line.queued.values()]
                first[definition] = min([first.get(definition, _NEVER), *heads])
        now = self._wall_clock()
        oldest = {name: max(0.0, now - at / 1_000_000) for name, at in first.items() if at != _NEVER}
        self._gauges.show(queued, active, oldest, slots)
        metrics.IN_DOUBT.set(doubts)
        metrics.LEADING.set(1)

    def clear(self) -> None:
        """Show nothing: this dispatcher leads no more."""
        metrics.LEADING.set(0)
        self._gauges.clear()
        self._due = float("-inf")


_NEVER = 1 << 62
