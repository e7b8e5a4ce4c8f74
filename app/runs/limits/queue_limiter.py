"""Limits on how many runs may be queued. A request that finds the queue full is refused before anything is stored.

Without limits nothing is watched. How exact the count is, and what it costs: docs/adr/0013-limits.md.
"""

import threading
import time
from collections.abc import Callable

from app.common.errors import ErrorKind, ServiceError
from app.kube.client import NamespacedClient
from app.kube.reflector import Reflector
from app.runs.limits.queue_counter import QueueCounter, QueuedJob, QueueFull, QueueLimits, Reservation, read_queued_job
from schemas.definition import Definition

_FIRST_LIST_SECONDS = 2.0
"""How long a request waits for the first list of the runs."""


class QueueFullError(ServiceError):
    """As many runs are queued as may be.

    Attributes:
        definition: whose queue is full; `None`: the limit of all queues together is reached.
        limit: how many runs may be queued.
    """

    kind = ErrorKind.TOO_MANY

    def __init__(self, definition: str | None, limit: int, retry_after_seconds: int) -> None:
        super().__init__(definition or "all")
        self.definition = definition
        self.limit = limit
        self._retry_after_seconds = retry_after_seconds

    @property
    def detail(self) -> str:
        """Which limit is reached. It does not say how many runs of other definitions are queued."""
        if self.definition is None:
            return "the queues of this service are full (SLIMFAAS_MAX_QUEUED); nothing has been done"
        return f"the queue of this job is full (MaxQueued: {self.limit}); nothing has been done"

    @property
    def retry_seconds(self) -> int:
        """When there may be room again."""
        return self._retry_after_seconds


class QueueUnknownError(ServiceError):
    """The number of queued runs is not known yet."""

    kind = ErrorKind.UNAVAILABLE
    detail = "it is not known yet how many runs are queued; nothing has been done"


class QueueLimiter:
    """Keeps the limits of the queues of a namespace.

    While the watch is broken or silent, the runs that it showed last count, and those that this process has stored
    since. That may be too many, never too few: the limits hold.

    Args:
        client: of the namespace.
        max_queued: how many runs of all definitions may be queued; `None`: any number.
        clock: seconds that never go back.
    """

    def __init__(
        self, client: NamespacedClient, max_queued: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._max_queued = max_queued
        self._clock = clock
        self._lock = threading.Lock()
        self._counter = QueueCounter(clock)
        self._reflector: Reflector[QueuedJob] | None = None

    def bounds(self, definition: Definition) -> bool:
        """Return whether a limit applies to the runs of this definition."""
        return self._max_queued is not None or definition.max_queued is not None

    def start(self) -> None:
        """Start the watch, unless it runs. Call this after the last fork: threads do not survive one."""
        self._watch()

    def stop(self) -> None:
        """Stop the watch until a limit needs it again. Requests under way go on with what was shown last."""
        with self._lock:
            if self._reflector is not None:
                self._reflector.stop()
                self._reflector = None

    def check(self, definition: Definition) -> None:
        """Check whether another run may be queued now, without a reservation.

        Raises:
            QueueFullError: it may not.
            QueueUnknownError: the number of queued runs is not known yet.
        """
        if self.bounds(definition):
            full = self._filled_counter().find_reached_limit(definition.name, self._limits(definition))
            if full is not None:
                raise _to_error(full)

    def reserve(self, definition: Definition, name: str) -> Reservation:
        """Reserve a place in the queue for a run that is about to be stored.

        Args:
            definition: the run's.
            name: of its Job. A run that is queued already needs no other place.

        Returns:
            The reservation. Release it once it is certain that this request has not stored the run.

        Raises:
            QueueFullError: no place is free.
            QueueUnknownError: the number of queued runs is not known yet.
        """
        if not self.bounds(definition):
            return Reservation(None, name)
        reserved = self._filled_counter().reserve(definition.name, name, self._limits(definition))
        if isinstance(reserved, QueueFull):
            raise _to_error(reserved)
        return reserved

    def _limits(self, definition: Definition) -> QueueLimits:
        return QueueLimits(definition.max_queued, self._max_queued)

    def _filled_counter(self) -> QueueCounter:
        counter = self._watch()
        if not counter.filled.wait(_FIRST_LIST_SECONDS):
            raise QueueUnknownError("the runs have not been listed yet")
        return counter

    def _watch(self) -> QueueCounter:
        """Return the counter that the watch fills. Start the watch, unless it runs."""
        with self._lock:
            if self._reflector is None:
                counter = QueueCounter(self._clock)
                runs = self._client.runs
                reflector = Reflector(
                    self._client, runs, read_queued_job, counter, name="queues", on_life=counter.forget_unseen
                )
                reflector.start()  # may raise: then the next request tries again
                self._reflector, self._counter = reflector, counter
            return self._counter


def _to_error(full: QueueFull) -> QueueFullError:
    return QueueFullError(full.definition, full.limit, full.retry_after_seconds)
