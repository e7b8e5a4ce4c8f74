"""The runs of a definition, listed once for all who ask at about the same time.

Where a queued run stands can only be told by looking at all others. Callers that poll a long queue would each hold a
page of it in memory at the same time; so one list is read at a time, and serves everyone for a moment.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.cluster.namespace import Namespace
from app.cluster.records import Run, read_run

_FRESH_SECONDS = 1.0
"""How long a list serves those who come after it."""


@dataclass(frozen=True, slots=True)
class _Listed:
    until: float
    runs: dict[str, Run]


class Listing:
    """Lists runs by definition.

    Args:
        namespace: whose runs.
        clock: seconds that never go back.
    """

    def __init__(self, namespace: Namespace, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._clock = clock
        self._lock = threading.Lock()
        self._listed: dict[str, _Listed] = {}

    def beside(self, run: Run) -> list[Run]:
        """Every run of a run's definition, itself included, as of less than a second ago.

        A list that doesn't know the run was read before it was queued, and so may lack others that are ahead of it: it
        is read anew.

        Raises:
            ClusterError: the API server can't be asked.
        """
        with self._lock:
            now = self._clock()
            self._listed = {name: listed for name, listed in self._listed.items() if listed.until > now}
            listed = self._listed.get(run.definition)
            if listed is None or run.uid not in listed.runs:
                jobs = self._namespace.objects(self._namespace.runs_of(run.definition))
                runs = {one.uid: one for one in map(read_run, jobs)}
                listed = self._listed[run.definition] = _Listed(self._clock() + _FRESH_SECONDS, runs)
            return list(listed.runs.values())
