"""A cache in which requests for the same key share one look-up."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from app.common.concurrency_limiter import ConcurrencyLimiter
from app.telemetry import metrics

_T = TypeVar("_T")


class _Entry(Generic[_T]):
    """A result, or the look-up that is under way. A `Future` takes a kilobyte, so it is dropped when it is done."""

    __slots__ = ("pending", "result", "size_bytes", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.pending: Future[_T] | None = Future()
        self.result: _T
        self.size_bytes = 0


class SingleFlightCache(Generic[_T]):
    """Keeps the results of look-ups for a short time. Safe to share between threads.

    Requests for the same key at the same time share one look-up. The time counts from the begin of a look-up, because
    its result may be as old. A look-up that fails is dropped at once; only the requests that wait for it share its
    failure.

    Args:
        limiter: limits the requests that look up, or wait for another's look-up.
        seconds: how long a result is fresh, at most.
        seconds_of: how long this result is fresh; `None`: all for `seconds`.
        kind: what is looked up, for the metrics.
        size: how many results are kept; the oldest are dropped first.
        size_of: how many bytes of `max_bytes` this result takes.
        max_bytes: how many bytes all results may take together; the oldest are dropped first.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        *,
        seconds: float,
        seconds_of: Callable[[_T], float] | None = None,
        kind: str = "other",
        size: int = 1024,
        size_of: Callable[[_T], int] = lambda _: 0,
        max_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._kind = kind
        self._seconds = seconds
        self._seconds_of = seconds_of or (lambda _: seconds)
        self._size = size
        self._size_of = size_of
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[_T]] = {}  # the oldest first
        self._bytes = 0

    def get(self, key: Hashable, look_up: Callable[[], _T], *, limiter: ConcurrencyLimiter | None = None) -> _T:
        """Return the result for a key: from the cache, or looked up now.

        Args:
            key: what is looked up.
            look_up: looks it up.
            limiter: limits this look-up instead of the cache's own limiter; `None`: that one does.

        Raises:
            BusyError: too many requests look up already.
            Exception: what `look_up` raises.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.pending is None and entry.until > self._clock():
            self._count("remembered")
            return entry.result
        with (limiter or self._limiter).acquire():
            entry, pending, own = self._join(key)
            self._count("asked" if own else "remembered")
            if pending is None:
                return entry.result
            if own:
                self._fulfil(key, entry, pending, look_up)
            return pending.result()

    def _count(self, outcome: str) -> None:
        metrics.LOOKUPS.labels(self._kind, outcome).inc()

    def _join(self, key: Hashable) -> tuple[_Entry[_T], Future[_T] | None, bool]:
        """Return the entry, its look-up if it is not done, and whether the caller has to do it."""
        with self._lock:
            now = self._clock()
            entry = self._entries.get(key)
            if entry is not None and entry.until > now:
                return entry, entry.pending, False
            self._drop(key)  # so that the new one comes last
            while len(self._entries) >= self._size:
                self._drop(next(iter(self._entries)))
            entry = self._entries[key] = _Entry(now + self._seconds)
            return entry, entry.pending, True

    def _fulfil(self, key: Hashable, entry: _Entry[_T], pending: Future[_T], look_up: Callable[[], _T]) -> None:
        began = entry.until - self._seconds
        try:
            found = look_up()
            until, size_bytes = began + self._seconds_of(found), self._size_of(found)
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    self._drop(key)
            pending.set_exception(error)
            return
        with self._lock:
            entry.result, entry.until = found, until
            entry.pending = None  # last, because `get` looks at it without the lock
            if self._entries.get(key) is entry:
                entry.size_bytes = size_bytes
                self._bytes += size_bytes
                while self._bytes > self._max_bytes:
                    self._drop(next(iter(self._entries)))
        pending.set_result(found)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size_bytes
