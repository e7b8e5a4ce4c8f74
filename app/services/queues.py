"""Bounds on how many runs may wait: who comes to a full queue is refused before anything is stored.

Where nothing is bounded, nothing is watched. How exact the count is, and what it costs: docs/adr/0013-limits.md.
"""

import threading
import time
from collections.abc import Callable

from app.cluster.namespace import Namespace
from app.cluster.watch import Reflector
from app.services.backlog import Backlog, Sight, read_sight
from schemas.definition import Definition

_PATIENCE_SECONDS = 2.0
"""How long a call waits for the first list."""


class QueueFullError(Exception):
    """As many runs wait as may.

    Attributes:
        definition: whose queue it is; `None`: the bound is on the queues of all.
        most: how many may wait.
        retry_after_seconds: when there may be a place.
    """

    def __init__(self, definition: str | None, most: int, retry_after_seconds: int) -> None:
        super().__init__(definition or "all")
        self.definition = definition
        self.most = most
        self.retry_after_seconds = retry_after_seconds


class QueueUnknownError(Exception):
    """Nobody knows yet how many runs wait."""


class Queues:
    """The queues of the namespace, and how long they may become.

    While its watch is broken, or silent, the last that it has shown counts, with what this process has stored since:
    rather too much than too little, so that what is bounded stays bounded.

    Args:
        namespace: whose runs.
        most: how many runs may wait in all; `None`: any number.
        clock: seconds that never go back.
    """

    def __init__(self, namespace: Namespace, most: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._namespace = namespace
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._backlog = Backlog(clock)
        self._reflector: Reflector[Sight] | None = None

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

    def take_place(self, definition: Definition, name: str) -> Callable[[], None]:
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
        backlog = self._know()
        if not backlog.expect(definition.name, name, lambda: self._check(definition, backlog)):
            return _do_nothing
        return lambda: backlog.take_back(name)

    def _know(self) -> Backlog:
        backlog = self._watch()
        if not backlog.filled.wait(_PATIENCE_SECONDS):
            raise QueueUnknownError("the runs have not been listed yet")
        return backlog

    def _watch(self) -> Backlog:
        """What the watch shows, which begins where there is none."""
        with self._lock:
            if self._reflector is None:
                backlog = Backlog(self._clock)
                runs = self._namespace.runs
                reflector = Reflector(
                    self._namespace, runs, read_sight, backlog, name="queues", on_life=backlog.forget_unseen
                )
                reflector.start()  # first: where there is no thread to be had, the next call tries again
                self._reflector, self._backlog = reflector, backlog
            return self._backlog

    def _check(self, definition: Definition, backlog: Backlog) -> None:
        most = definition.max_queued
        if most is not None and backlog.length(definition.name) >= most:
            raise QueueFullError(definition.name, most, backlog.retry_after_seconds(definition.name))
        if self._most is not None and backlog.total() >= self._most:
            raise QueueFullError(None, self._most, backlog.retry_after_seconds(None))


def _do_nothing() -> None:
    pass
