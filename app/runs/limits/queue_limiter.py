"""Limits on how many runs may be queued. A request that finds the queue full is refused before anything is stored.

Without limits nothing is watched. How exact the count is, and what it costs: docs/adr/0013-limits.md.
"""

import threading
import time
from collections.abc import Callable

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.kube.client import NamespacedClient
from app.kube.shared_watch import Follower, SharedWatch
from app.runs.limits.queue_counter import Limit, QueueCounter, QueueFull, QueueLimits, Reservation, read_queued_job
from app.runs.limits.queue_usage import QueuedJob
from schemas.definition import Definition

_FIRST_LIST_SECONDS = 2.0
"""How long a request waits until the runs have been listed for the first time."""

MAX_DEPENDENCY_BYTES = 2 * 2**20
"""How many bytes of memory the different dependency lists of all queued runs may take. The pod has 76 MiB."""


class QueueFullError(ServiceError):
    """A limit of the queues is reached.

    Attributes:
        full: which limit is reached.
    """

    kind = ErrorKind.TOO_MANY

    def __init__(self, full: QueueFull) -> None:
        super().__init__(f"{full.definition or 'all'}: {full.kind.value}")
        self.full = full

    @property
    def detail(self) -> str:
        """Which limit is reached. It does not say how many runs of other definitions are queued."""
        limit = self.full.limit
        match self.full.kind:
            case Limit.DEPENDENCIES:
                why = f"the different DependsOn lists of queued runs take more than {limit // 2**20} MiB of memory"
            case Limit.SIZE if self.full.definition is None:
                why = f"the queued runs of this service take {limit} KiB in etcd (SLIMFAAS_MAX_QUEUED_BYTES)"
            case Limit.SIZE:
                why = f"the queued runs of this definition take {limit} KiB in etcd (half of SLIMFAAS_MAX_QUEUED_BYTES)"
            case _ if self.full.definition is None:
                why = "the queues of this service are full (SLIMFAAS_MAX_QUEUED)"
            case _:
                why = f"the queue of this definition is full (MaxQueued: {limit})"
        return f"{why}; nothing has been done"

    @property
    def retry_seconds(self) -> int:
        """When there may be room again."""
        return self.full.retry_after_seconds


class QueueUnknownError(ServiceError):
    """The number of queued runs is not known yet."""

    kind = ErrorKind.UNAVAILABLE
    detail = "it is not known yet how many runs are queued; nothing has been done"


class QueueLimiter:
    """Enforces the limits of the queues of a namespace.

    While the watch is broken or silent, the runs that it showed last count, plus the runs that this process has stored
    since. This count may be too high but never too low, so the limits still hold.

    Args:
        client: of the namespace.
        max_queued: how many runs of all definitions may be queued; `None`: any number.
        max_bytes: how many bytes the queued runs of all definitions may take in etcd. One definition may take half of
            this. The limit applies where the number of runs is limited.
        runs_watch: the watch of runs, which the dispatcher also uses; `None`: the limiter opens its own.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        max_queued: int | None,
        max_bytes: int,
        *,
        runs_watch: SharedWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs_watch = runs_watch or SharedWatch(client, client.runs, name="runs")
        self._max_queued = max_queued
        self._max_kib = max_bytes // 1024
        self._clock = clock
        self._lock = threading.Lock()
        self._counter = QueueCounter(clock)
        self._follower: Follower[QueuedJob] | None = None

    def bounds(self, definition: Definition) -> bool:
        """Return whether the number of queued runs of this definition is limited."""
        return self._max_queued is not None or definition.max_queued is not None

    def start(self) -> None:
        """Start the watch, unless it runs. Call this after the last fork: threads do not survive one."""
        self._watch()

    def stop(self) -> None:
        """Stop the watch until a limit needs it again. Until then, requests use the last known count."""
        with self._lock:
            if self._follower is not None:
                self._runs_watch.leave(self._follower)
                self._follower = None

    def check(self, definition: Definition, job: Json) -> None:
        """Check whether a run may be queued now, without a reservation.

        Args:
            definition: the run's.
            job: its Job, as it would be stored.

        Raises:
            QueueFullError: it may not.
            QueueUnknownError: the number of queued runs is not known yet.
        """
        if self.bounds(definition):
            full = self._filled_counter().find_reached_limit(read_queued_job(job), self._limits(definition))
            if full is not None:
                raise QueueFullError(full)

    def reserve(self, definition: Definition, job: Json) -> Reservation:
        """Reserve a place in the queue for a run that is about to be stored.

        Args:
            definition: the run's.
            job: its Job, as it is to be stored. A run that is queued already needs no other place.

        Returns:
            The reservation. Release it once it is certain that this request has not stored the run.

        Raises:
            QueueFullError: no place is free.
            QueueUnknownError: the number of queued runs is not known yet.
        """
        if not self.bounds(definition):
            return Reservation(None, job["metadata"]["name"])
        reserved = self._filled_counter().reserve(read_queued_job(job), self._limits(definition))
        if isinstance(reserved, QueueFull):
            raise QueueFullError(reserved)
        return reserved

    def _limits(self, definition: Definition) -> QueueLimits:
        return QueueLimits(
            definition.max_queued,
            self._max_queued,
            kib_of_definition=self._max_kib // 2,
            kib_of_all=self._max_kib,
            dependency_bytes=MAX_DEPENDENCY_BYTES,
        )

    def _filled_counter(self) -> QueueCounter:
        counter = self._watch()
        if not counter.filled.wait(_FIRST_LIST_SECONDS):
            raise QueueUnknownError("the runs have not been listed yet")
        return counter

    def _watch(self) -> QueueCounter:
        """Return the counter that the watch fills. Start the watch, unless it runs."""
        with self._lock:
            if self._follower is None:
                counter = QueueCounter(self._clock)
                follower = Follower(read_queued_job, counter, on_life=counter.forget_unseen)
                self._runs_watch.join(follower)  # may raise: then the next request tries again
                self._follower, self._counter = follower, counter
            return self._counter
