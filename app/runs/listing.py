"""Lists of a definition's runs, read once for all requests that come at about the same time.

Kubernetes lists Jobs by name. To tell a queued run's position, or which runs are the newest, all of them have to be
read. Many polling callers would each hold a page of that list in memory. So one list is read at a time, page by page,
and its result serves everyone for a second.
"""

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.common.concurrency_limiter import BusyError
from app.common.expiring_cache import ExpiringCache
from app.common.types import Json
from app.domain.names import find_job_name, id_in, is_id
from app.domain.run import Phase, Run, queue_key
from app.kube.client import NamespacedClient
from app.kube.parsing import read_notification, read_run, read_time, started_by, terminal_condition
from app.runs.abridged import trim_job
from app.runs.pagination import MAX_LIMIT, ListQuery, QueueKey, RunPage, TopN
from app.runs.run_status import ADMITTED_STATUSES, possible_statuses

_FRESH_SECONDS = 1.0
"""How long a list serves later requests."""

_SHORT_LIST = 500
"""How many Jobs a definition may have so that its list is read again, within that time, for a run that is newer. For a
longer one, whoever starts runs and reads them at once would have the API server list all the time, and make the reads
of all other definitions wait."""

_PAGES_KEPT = 4
"""Each page may take some MiB of memory."""

_TURN_SECONDS = 10.0
"""How long a request waits while others list runs. Without the API server, they fail one after the other."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A definition's queue at one moment.

    Attributes:
        keys: the queue keys of the queued runs, sorted, as `pack_queue_key` makes them.
        admitted: how many runs hold a slot.
    """

    keys: Sequence[bytes]
    admitted: int

    def position_of(self, run: Run) -> int:
        """Return the position of a queued run, from 1 on."""
        return bisect_left(self.keys, pack_queue_key(run)) + 1

    def contains(self, run: Run) -> bool:
        """Return whether the run was in the queue at that moment."""
        key = pack_queue_key(run)
        index = bisect_left(self.keys, key)
        return index < len(self.keys) and self.keys[index] == key


@dataclass(frozen=True, slots=True)
class _KnownQueue:
    """A queue that was read.

    Attributes:
        queue: the queue.
        until: until when it serves later requests.
        is_long: whether newer runs must not have it read again before that.
    """

    queue: Queue
    until: float
    is_long: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one list has to say to a query.

    Attributes:
        jobs: the newest Jobs that may match the query, as JSON, with their queue keys, from the newest to the oldest.
        older_exist: whether older Jobs that may match were left out.
        queue: the definition's queue at the moment of the list.
    """

    jobs: Sequence[tuple[QueueKey, str]]
    older_exist: bool
    queue: Queue


class Listing:
    """Lists the runs of a namespace by definition.

    Args:
        client: of the namespace.
        clock: seconds that never go back.
        short_list: see `_SHORT_LIST`.

    Attributes:
        pages: finished pages by definition and query. Use them only within `turn`.
    """

    def __init__(
        self, client: NamespacedClient, clock: Callable[[], float] = time.monotonic, *, short_list: int = _SHORT_LIST
    ) -> None:
        self._client = client
        self._clock = clock
        self._short_list = short_list
        self._lock = threading.Lock()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by definition
        self._queues: dict[str, _KnownQueue] = {}
        self.pages: ExpiringCache[tuple[str, ListQuery], RunPage] = ExpiringCache(
            _FRESH_SECONDS, max_entries=_PAGES_KEPT, clock=clock
        )

    @contextmanager
    def turn(self, definition: str) -> Iterator[None]:
        """Wait until no other request lists runs, and keep others from it for as long as the context lasts.

        One request of each definition at a time waits for those of other definitions: however many there are for one
        definition, another one waits for a list or two.

        Args:
            definition: whose runs are to be listed.

        Raises:
            BusyError: the others took too long.
        """
        give_up_at = time.monotonic() + _TURN_SECONDS
        with _acquire(self._turns[definition], give_up_at), _acquire(self._lock, give_up_at):
            now = self._clock()
            self._queues = {name: known for name, known in self._queues.items() if known.until > now}
            self.pages.drop_expired()
            yield

    def queue_with(self, run: Run) -> Queue:
        """Return the queue that a queued run is in, at most a second old, or as old as it took to read it.

        If the kept queue does not contain the run, it was read before the run was queued. It may lack other runs that
        are ahead of it, so it is read again, unless it is long: then the position is that of a moment ago.

        Raises:
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        with self.turn(run.definition):
            known = self._queues.get(run.definition)
            if known is not None and (known.is_long or known.queue.contains(run)):
                return known.queue
            return self._read(run.definition, None).queue

    def read(self, definition: str, list_query: ListQuery) -> Snapshot:
        """Read the runs of a definition now. Call this only within `turn`.

        Raises:
            ClusterError: the call to the API server failed.
        """
        return self._read(definition, list_query)

    def _read(self, definition: str, list_query: ListQuery | None) -> Snapshot:
        newest = None if list_query is None else TopN(_count_candidates(list_query), list_query.before)
        keys: list[bytes] = []
        admitted = count = 0
        began = self._clock()
        for job in self._client.objects(self._client.runs_of(definition)):
            run = read_run(job)
            count += 1
            if run.phase is Phase.QUEUED:
                keys.append(pack_queue_key(run))
            admitted += run.phase is Phase.ADMITTED
            if newest is not None and list_query is not None and _may_match(list_query, run, job):
                newest.offer(queue_key(run), trim_job(job))
        keys.sort()
        queue = Queue(keys, admitted)
        now = self._clock()
        # A list that takes long serves as long: so at most half of the time is spent on lists of one definition.
        until = now + max(_FRESH_SECONDS, now - began)
        self._queues[definition] = _KnownQueue(queue, until, count > self._short_list)
        return Snapshot([], False, queue) if newest is None else Snapshot(newest.jobs(), newest.older_exist, queue)


def pack_queue_key(run: Run) -> bytes:
    """Return a run's queue key as bytes, which sort as the keys do and take half of their memory."""
    queued_at, name = queue_key(run)
    return (queued_at + 2**63).to_bytes(8, "big") + name.encode()


@contextmanager
def _acquire(lock: threading.Lock, give_up_at: float) -> Iterator[None]:
    if not lock.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
        raise BusyError("other requests list runs all the time")
    try:
        yield
    finally:
        lock.release()


def is_addressable(run: Run) -> bool:
    """Return whether callers can name the run. Other Jobs with our labels only take part in the queue."""
    run_id = id_in(run.definition, run.name)
    return is_id(run_id) and find_job_name(run.definition, run_id) == run.name


def _may_match(list_query: ListQuery, run: Run, job: Json) -> bool:
    """Return whether a run may be on the page, as far as its Job alone tells."""
    statuses = list_query.statuses
    if list_query.owner is not None and started_by(job) != list_query.owner:
        return False
    if list_query.notifications and read_notification(job) not in list_query.notifications:
        return False
    if list_query.finished_since is not None and not _has_ended_since(job, list_query.finished_since):
        return False
    return is_addressable(run) and (not statuses or not statuses.isdisjoint(possible_statuses(job, run)))


def _has_ended_since(job: Json, moment: int) -> bool:
    """Return whether a run has ended at a moment or later. Kubernetes cuts the time of the end to a whole second."""
    condition = terminal_condition(job)
    if condition is None:
        return False
    ended_at = read_time((job.get("status") or {}).get("completionTime") or condition.get("lastTransitionTime"))
    return ended_at is not None and ended_at >= moment


def _count_candidates(list_query: ListQuery) -> int:
    """Return how many Jobs to choose for one page.

    Only its pods tell which of `ADMITTED_STATUSES` an admitted run has. If the query wants some of these and not
    others, some of the Jobs may turn out not to match: choose as many as the largest page has.
    """
    wanted = list_query.statuses & ADMITTED_STATUSES
    return MAX_LIMIT if wanted and wanted != ADMITTED_STATUSES else list_query.limit
