"""The metrics of the queue, as the dispatcher that leads sees it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.run_store import RunStore
from app.telemetry import metrics

_PAUSE_SECONDS = 1.0
"""How often the metrics are set, however often something changes."""


class QueueMetrics:
    """Sets the metrics of the queue.

    Args:
        signal: whose lock guards the store.
        clock: seconds that never go back.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self, signal: ChangeSignal, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._signal = signal
        self._clock = clock
        self._wall_clock = wall_clock
        self._gauges = metrics.QueueGauges()
        self._due = float("-inf")

    def show(self, runs: RunStore, slots: Mapping[str, int], in_doubt: int) -> None:
        """Set the metrics, unless they were set a moment ago.

        Args:
            runs: the leader's store.
            slots: by definition. Runs of a definition that is missing, because it was removed, count as
                `metrics.UNKNOWN`.
            in_doubt: how many runs hold a slot because an earlier admission may still arrive.
        """
        if self._clock() < self._due:
            return
        self._due = self._clock() + _PAUSE_SECONDS
        queued: Counter[str] = Counter()
        active: Counter[str] = Counter()
        first: dict[str, int] = {}
        with self._signal.lock:
            for name in runs.definitions():
                definition = name if name in slots else metrics.UNKNOWN
                queued[definition] += runs.queued(name)
                active[definition] += runs.active(name)
                if (oldest := runs.oldest_queued_at(name)) is not None:
                    first[definition] = min(first.get(definition, oldest), oldest)
        now = self._wall_clock()
        ages = {name: max(0.0, now - at / 1_000_000) for name, at in first.items()}
        self._gauges.show(queued, active, ages, slots)
        metrics.IN_DOUBT.set(in_doubt)
        metrics.LEADING.set(1)

    def clear(self) -> None:
        """Remove the values, because this dispatcher no longer leads."""
        metrics.LEADING.set(0)
        self._gauges.clear()
        self._due = float("-inf")
