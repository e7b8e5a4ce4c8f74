"""The metrics of notifications that wait for their receiver, as the dispatcher that leads sees them."""

from collections import Counter
from collections.abc import Callable, Container

from app.dispatcher.undelivered import UndeliveredRuns
from app.telemetry import metrics

_PAUSE_SECONDS = 1.0
"""How often the metrics are set, however often something changes."""


class NotificationMetrics:
    """Sets the metrics. The caller of `show` holds the lock of the runs.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due = float("-inf")
        self._shown: set[str] = set()

    def show(self, runs: UndeliveredRuns, definitions: Container[str], server_now: float) -> None:
        """Set the metrics, unless they were set a moment ago.

        Args:
            runs: those whose end is still to be told.
            definitions: the configured ones. Runs of others count as `metrics.UNKNOWN`.
            server_now: seconds since the epoch, by the API server's clock.
        """
        if self._clock() < self._due:
            return
        self._due = self._clock() + _PAUSE_SECONDS
        counts: Counter[str] = Counter()
        ages: dict[str, float] = {}
        for name in runs.definitions():
            definition = name if name in definitions else metrics.UNKNOWN
            counts[definition] += runs.count(name)
            if (oldest := runs.oldest_end(name)) is not None:
                ages[definition] = max(ages.get(definition, 0.0), server_now - oldest / 1_000_000)
        for definition in counts.keys() - self._shown:
            for outcome in metrics.NOTIFICATION_OUTCOMES:  # Prometheus sees no increase when a series begins at 1
                metrics.NOTIFICATIONS.labels(definition, outcome)
        self._shown |= counts.keys()
        for definition in self._shown:
            metrics.UNDELIVERED.labels(definition).set(counts[definition])
            metrics.OLDEST_UNDELIVERED_SECONDS.labels(definition).set(ages.get(definition, 0.0))

    def clear(self) -> None:
        """Set the metrics to 0: this dispatcher does not lead."""
        self._due = float("-inf")
        for definition in self._shown:
            metrics.UNDELIVERED.labels(definition).set(0)
            metrics.OLDEST_UNDELIVERED_SECONDS.labels(definition).set(0)
