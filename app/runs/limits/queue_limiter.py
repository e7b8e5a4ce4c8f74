"""Bounds on how many runs may wait: who comes to a full queue is refused before anything is stored.

Where nothing is bounded, nothing is watched. How exact the count is, and what it costs: docs/adr/0013-limits.md.
"""

import threading
import time
from collections.abc import Callable

from app.common.errors import ErrorKind, ServiceError
from app.kube.client import NamespacedClient
from app.kube.reflector import Reflector
from app.runs.limits.queue_counter import QueueCounter, QueuedJob, read_queued_job
from schemas.definition import Definition

_PATIENCE_SECONDS = 2.0
"""How long a call waits for the first list."""


class QueueFullError(ServiceError):
    """As many runs are queued as may be.

    Attributes:
        definition: whose queue is full; `None`: the bound is on all queues together.
        most: how many runs may be queued.
    """

    kind = ErrorKind.TOO_MANY

    def __init__(self, definition: str | None, most: int, retry_after_seconds: int) -> None:
        super().__init__(definition or "all")
        self.definition = definition
        self.most = most
        self._retry_after_seconds = retry_after_seconds

    @property
    def detail(self) -> str:
        """Which bound is reached. How many runs of other definitions wait is not for every caller to know."""
        if self.definition is None:
            return "the queues of this service are full (SLIMFAAS_MAX_QUEUED); nothing has been done"
        return f"the queue of this job is full (MaxQueued: {self.most}); nothing has been done"

    @property
    def retry_seconds(self) -> int:
        """When there may be room again."""
        return self._retry_after_seconds


class QueueUnknownError(ServiceError):
    """Nobody knows yet how many runs wait."""

    kind = ErrorKind.UNAVAILABLE
    detail = "it is not known yet how many runs are queued; nothing has been done"


class QueueLimiter:
    """The queues of the namespace, and how long they may become.

    While its watch is broken, or silent, the last that it has shown counts, with what this process has stored since:
    rather too much than too little, so that what is bounded stays bounded.

    Args:
        client: whose runs.
        most: how many runs may wait in all; `None`: any number.
        clock: seconds that never go back.
    """

    def __init__(
        self, client: NamespacedClient, most: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._counter = QueueCounter(clock)
        self._reflector: Reflector[QueuedJob] | None = None

    def bounds(self, definition: Definition) -> bool:
        """Whether there is a bound that a run of this definition could come to."""
        return self._most is not None or definition.max_queued is not None

    def start(self) -> None:
        """Begin to watch, where that has not been done; not before the process has forked for the last time."""
        self._watch()

    def stop(self) -> None:
        """Watch no longer, until it is asked for again; calls under way end with what was shown last."""
        with self._lock:
            if self._reflector is not None:
                self._reflector.stop()
                self._reflector = None

    def check(self, definition: Definition) -> None:
        """See whether another run may be queued now.

        Raises:
            QueueFullError: it may not.
            QueueUnknownError: nobody knows.
        """
        if self.bounds(definition):
            self._check(definition, self._know())

    def reserve(self, definition: Definition, name: str) -> Callable[[], None]:
        """Take a place in the queue for a run that is about to be stored.

        Args:
            definition: whose run.
            name: of its Job; one that is queued already needs no other place.

        Returns:
            To be called once it is certain that the run is not stored by this call: gives the place back.

        Raises:
            QueueFullError: there is none.
            QueueUnknownError: nobody knows.
        """
        if not self.bounds(definition):
            return _do_nothing
        counter = self._know()
        if not counter.expect(definition.name, name, lambda: self._check(definition, counter)):
            return _do_nothing
        return lambda: counter.release(name)

    def _know(self) -> QueueCounter:
        counter = self._watch()
        if not counter.filled.wait(_PATIENCE_SECONDS):
            raise QueueUnknownError("the runs have not been listed yet")
        return counter

    def _watch(self) -> QueueCounter:
        """What the watch shows, which begins where there is none."""
        with self._lock:
            if self._reflector is None:
                counter = QueueCounter(self._clock)
                runs = self._client.runs
                reflector = Reflector(
                    self._client, runs, read_queued_job, counter, name="queues", on_life=counter.forget_unseen
                )
                reflector.start()  # first: where there is no thread to be had, the next call tries again
                self._reflector, self._counter = reflector, counter
            return self._counter

    def _check(self, definition: Definition, counter: QueueCounter) -> None:
        most = definition.max_queued
        if most is not None and counter.length(definition.name) >= most:
            raise QueueFullError(definition.name, most, counter.retry_after_seconds(definition.name))
        if self._most is not None and counter.total() >= self._most:
            raise QueueFullError(None, self._most, counter.retry_after_seconds(None))


def _do_nothing() -> None:
    pass
