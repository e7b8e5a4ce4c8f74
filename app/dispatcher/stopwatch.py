"""How long admitted runs take to start: measured for the metrics, decides nothing."""

from collections.abc import Callable

from app.domain.run import Phase, Run
from app.kube.reflector import Store
from app.telemetry import metrics


class Starts:
    """Measures from an admission of ours to when the watch shows that the run's pod runs, or has succeeded.

    Runs that others have admitted, or that end otherwise before they start, are not measured.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._admitted_at: dict[str, float] = {}  # by uid; only runs that have not started

    def admitted(self, run: Run) -> None:
        """Begin to measure."""
        self._admitted_at[run.uid] = self._clock()

    def see(self, run: Run) -> None:
        """Look at a run as the watch shows it."""
        if run.uid not in self._admitted_at or not (run.started or run.phase is Phase.FINISHED):
            return
        seconds = self._clock() - self._admitted_at.pop(run.uid)
        if run.started:
            metrics.STARTING_SECONDS.labels(run.definition).observe(seconds)

    def keep(self, uids: set[str]) -> None:
        """Forget all runs but these."""
        for uid in list(self._admitted_at):  # in place: another thread may be adding to it
            if uid not in uids:
                self.forget(uid)

    def forget(self, uid: str) -> None:
        """Forget a run that is gone."""
        self._admitted_at.pop(uid, None)


class Watched:
    """Shows each run to `Starts` on its way into the table.

    Args:
        starts: what measures.
        table: what is kept up to date.
    """

    def __init__(self, starts: Starts, table: Store[Run]) -> None:
        self._starts = starts
        self._table = table

    def replace(self, records: list[Run]) -> None:
        """Pass a list on."""
        self._starts.keep({run.uid for run in records})
        for run in records:
            self._starts.see(run)
        self._table.replace(records)

    def put(self, record: Run) -> None:
        """Pass a run on."""
        self._starts.see(record)
        self._table.put(record)

    def remove(self, record: Run) -> None:
        """Pass on that a run is gone."""
        self._starts.forget(record.uid)
        self._table.remove(record)
