"""How long admitted runs take to start. This is for the metrics only; no decision depends on it."""

from collections.abc import Callable

from app.domain.run import Phase, Run
from app.telemetry import metrics


class StartLatency:
    """Measures from an admission of ours to when the watch shows that the run's pod runs, or has succeeded.

    Runs that others have admitted, that wait for Kueue, or that end before they start, are not measured.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._admitted_at: dict[str, float] = {}  # by uid; only runs that have not started

    def admitted(self, run: Run) -> None:
        """Begin to measure."""
        self._admitted_at[run.uid] = self._clock()

    def observe(self, run: Run) -> None:
        """Measure a run that the watch shows to have started; forget one that has ended before."""
        if run.uid not in self._admitted_at or not (run.started or run.phase is Phase.FINISHED):
            return
        seconds = self._clock() - self._admitted_at.pop(run.uid)
        if run.started:
            metrics.STARTING_SECONDS.labels(run.definition).observe(seconds)

    def forget(self, uid: str) -> None:
        """Forget a run that is gone."""
        self._admitted_at.pop(uid, None)

    def clear(self) -> None:
        """Forget all runs, because this dispatcher no longer leads."""
        self._admitted_at.clear()
