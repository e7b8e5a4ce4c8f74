"""The runs of a definition, listed once for all who ask at about the same time.

Where a queued run stands, and which runs are the newest, can only be told by looking at all of them: Kubernetes lists
them by name. Callers that poll would each hold a page of the list in memory at the same time; so one list is read at a
time, page by page, and what is made of it serves everyone for a moment.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.common.concurrency_limiter import BusyError
from app.common.types import Json
from app.domain.names import id_in, is_id, job_name
from app.domain.run import Phase, Run, queue_key
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run
from app.runs.pagination import ListQuery, QueueKey, RunPage, TopN

_T = TypeVar("_T")

_FRESH_SECONDS = 1.0
"""How long a list serves those who come after it."""

_PAGES_KEPT = 4
"""Each may take some MiB of memory."""

_PATIENCE_SECONDS = 10.0
"""How long a call waits for the lists of others; while the API server is away they fail one after the other."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A definition's queue at one moment.

    Attributes:
        places: of the queued runs, sorted.
        admitted: how many runs hold a slot.
    """

    places: Sequence[QueueKey]
    admitted: int

    def position_of(self, run: Run) -> int:
        """Where a queued run stands, from 1 on."""
        return bisect_left(self.places, queue_key(run)) + 1

    def knows(self, run: Run) -> bool:
        """Whether the run was in the queue then."""
        index = bisect_left(self.places, queue_key(run))
        return index < len(self.places) and self.places[index] == queue_key(run)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[_T]):
    until: float
    value: _T


class Listing:
    """Lists runs by definition.

    Args:
        client: whose runs.
        clock: seconds that never go back.
    """

    def __init__(self, client: NamespacedClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._queues: dict[str, _Kept[Queue]] = {}
        self._pages: dict[tuple[str, ListQuery], _Kept[RunPage]] = {}

    def queue_with(self, run: Run) -> Queue:
        """The queue that a queued run is in, as of less than a second ago.

        A list that doesn't know the run was read before it was queued, and so may lack others that are ahead of it: it
        is read anew.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        with self._turn():
            kept = self._queues.get(run.definition)
            return kept.value if kept and kept.value.knows(run) else self._read(run.definition, lambda _run, _job: None)

    def page(
        self,
        definition: str,
        list_query: ListQuery,
        count: int,
        may_match: Callable[[Json, Run], bool],
        finish: Callable[[TopN, Queue], RunPage],
    ) -> RunPage:
        """The page that a caller wants, as of less than a second ago.

        Args:
            definition: whose runs.
            list_query: what the page is known by to others who want the same.
            count: how many runs to choose among.
            may_match: judges a run by its Job alone.
            finish: makes the page; it may call the API server, and is called by one thread at a time.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        with self._turn():
            kept = self._pages.get((definition, list_query))
            if kept is not None:
                return kept.value
            top = TopN(count, list_query.before)

            def offer(run: Run, job: Json) -> None:
                if is_addressable(run) and may_match(job, run):
                    top.offer(queue_key(run), job)

            page = finish(top, self._read(definition, offer))
            while len(self._pages) >= _PAGES_KEPT:
                del self._pages[next(iter(self._pages))]
            self._pages[definition, list_query] = _Kept(self._clock() + _FRESH_SECONDS, page)
            return page

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            raise BusyError("others list runs all the time")
        try:
            now = self._clock()
            self._queues = {name: kept for name, kept in self._queues.items() if kept.until > now}
            self._pages = {key: kept for key, kept in self._pages.items() if kept.until > now}
            yield
        finally:
            self._lock.release()

    def _read(self, definition: str, see: Callable[[Run, Json], None]) -> Queue:
        places: list[QueueKey] = []
        admitted = 0
        for job in self._client.objects(self._client.runs_of(definition)):
            run = read_run(job)
            if run.phase is Phase.QUEUED:
                places.append(queue_key(run))
            admitted += run.phase is Phase.ADMITTED
            see(run, job)
        queue = Queue(sorted(places), admitted)
        self._queues[definition] = _Kept(self._clock() + _FRESH_SECONDS, queue)
        return queue


def is_addressable(run: Run) -> bool:
    """Whether callers can name the run; Jobs with our labels and names of their own only take part in the queue."""
    run_id = id_in(run.name)
    return is_id(run_id) and run.name == job_name(run.definition, run_id)
