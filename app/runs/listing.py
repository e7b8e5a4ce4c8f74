"""Lists of a definition's runs, read once for all requests that come at about the same time.

Kubernetes lists Jobs by name. To tell a queued run's position, or which runs are the newest, all of them have to be
read. Many polling callers would each hold a page of that list in memory. So one list is read at a time, page by page,
and its result serves everyone for a second.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.common.concurrency_limiter import BusyError
from app.common.expiring_cache import ExpiringCache
from app.common.types import Json
from app.domain.names import id_in, is_id, job_name
from app.domain.run import Phase, Run, queue_key
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run
from app.runs.pagination import MAX_LIMIT, ListQuery, QueueKey, RunPage, TopN
from app.runs.run_status import ADMITTED_STATUSES, possible_statuses

_FRESH_SECONDS = 1.0
"""How long a list serves later requests."""

_PAGES_KEPT = 4
"""Each page may take some MiB of memory."""

_TURN_SECONDS = 10.0
"""How long a request waits while others list runs. While the API server is away, they fail one after the other."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A definition's queue at one moment.

    Attributes:
        keys: the queue keys of the queued runs, sorted.
        admitted: how many runs hold a slot.
    """

    keys: Sequence[QueueKey]
    admitted: int

    def position_of(self, run: Run) -> int:
        """Return the position of a queued run, from 1 on."""
        return bisect_left(self.keys, queue_key(run)) + 1

    def contains(self, run: Run) -> bool:
        """Return whether the run was in the queue at that moment."""
        index = bisect_left(self.keys, queue_key(run))
        return index < len(self.keys) and self.keys[index] == queue_key(run)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one list has to say to a query.

    Attributes:
        jobs: the newest Jobs that may match the query, with their queue keys, from the newest to the oldest.
        older_exist: whether older Jobs that may match were left out.
        queue: the definition's queue at the moment of the list.
    """

    jobs: Sequence[tuple[QueueKey, Json]]
    older_exist: bool
    queue: Queue


class Listing:
    """Lists the runs of a namespace by definition.

    Args:
        client: of the namespace.
        clock: seconds that never go back.

    Attributes:
        pages: finished pages by definition and query. Use them only within `turn`.
    """

    def __init__(self, client: NamespacedClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._queues: ExpiringCache[str, Queue] = ExpiringCache(_FRESH_SECONDS, clock=clock)
        self.pages: ExpiringCache[tuple[str, ListQuery], RunPage] = ExpiringCache(
            _FRESH_SECONDS, max_entries=_PAGES_KEPT, clock=clock
        )

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other request lists runs, and keep others from it for as long as the context lasts.

        Raises:
            BusyError: the others took too long.
        """
        if not self._lock.acquire(timeout=_TURN_SECONDS):
            raise BusyError("other requests list runs all the time")
        try:
            self._queues.drop_expired()
            self.pages.drop_expired()
            yield
        finally:
            self._lock.release()

    def queue_with(self, run: Run) -> Queue:
        """Return the queue that a queued run is in, at most a second old.

        If the kept queue does not contain the run, it was read before the run was queued. It may lack other runs that
        are ahead of it, so it is read again.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many other requests ask it.
        """
        with self.turn():
            queue = self._queues.get(run.definition)
            if queue is not None and queue.contains(run):
                return queue
            return self._read(run.definition, None).queue

    def read(self, definition: str, list_query: ListQuery) -> Snapshot:
        """Read the runs of a definition now. Call this only within `turn`.

        Raises:
            ClusterError: the API server can't be asked.
        """
        return self._read(definition, list_query)

    def _read(self, definition: str, list_query: ListQuery | None) -> Snapshot:
        newest = None if list_query is None else TopN(_count_candidates(list_query), list_query.before)
        keys: list[QueueKey] = []
        admitted = 0
        for job in self._client.objects(self._client.runs_of(definition)):
            run = read_run(job)
            if run.phase is Phase.QUEUED:
                keys.append(queue_key(run))
            admitted += run.phase is Phase.ADMITTED
            if newest is not None and list_query is not None and _may_match(list_query, run, job):
                newest.offer(queue_key(run), job)
        queue = Queue(sorted(keys), admitted)
        self._queues.put(definition, queue)
        return Snapshot([], False, queue) if newest is None else Snapshot(newest.jobs(), newest.older_exist, queue)


def is_addressable(run: Run) -> bool:
    """Return whether callers can name the run. Other Jobs with our labels only take part in the queue."""
    run_id = id_in(run.name)
    return is_id(run_id) and run.name == job_name(run.definition, run_id)


def _may_match(list_query: ListQuery, run: Run, job: Json) -> bool:
    """Return whether a run may be on the page, as far as its Job alone tells."""
    statuses = list_query.statuses
    return is_addressable(run) and (not statuses or not statuses.isdisjoint(possible_statuses(job, run)))


def _count_candidates(list_query: ListQuery) -> int:
    """Return how many Jobs to choose for one page.

    Only its pods tell which of `ADMITTED_STATUSES` an admitted run has. If the query wants some of these and not
    others, some of the Jobs may turn out not to match: choose as many as the largest page has.
    """
    wanted = list_query.statuses & ADMITTED_STATUSES
    return MAX_LIMIT if wanted and wanted != ADMITTED_STATUSES else list_query.limit
