"""A cache in which requests for the same key share one look-up."""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.common.concurrency_limiter import ConcurrencyLimiter
from app.telemetry import metrics

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_T]):
    until: float
    result: Future[_T]


class SingleFlightCache(Generic[_T]):
    """Keeps the results of look-ups for a short time. Safe to share between threads.

    Requests for the same key at the same time share one look-up. The time counts from the begin of a look-up, because
    its result may be as old. A look-up that fails is dropped at once; only the requests that wait for it share its
    failure.

    Args:
        limiter: limits the requests that look up, or wait for another's look-up.
        seconds: how long a result is fresh.
        kind: what is looked up, for the metrics.
        size: how many results are kept; the oldest are dropped first.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limiter: ConcurrencyLimiter,
        *,
        seconds: float,
        kind: str = "other",
        size: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._kind = kind
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[_T]] = {}

    def get(self, key: Hashable, look_up: Callable[[], _T]) -> _T:
        """Return the result for a key: from the cache, or looked up now.

        Raises:
            BusyError: too many requests look up already.
            Exception: what `look_up` raises.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.result.done() and entry.until > self._clock():
            self._count("remembered")
            return entry.result.result()
        with self._limiter.acquire():
            result, own = self._join(key)
            self._count("asked" if own else "remembered")
            if own:
                self._fulfil(key, result, look_up)
            return result.result()

    def _count(self, outcome: str) -> None:
        metrics.LOOKUPS.labels(self._kind, outcome).inc()

    def _join(self, key: Hashable) -> tuple[Future[_T], bool]:
        """Return the present or future result, and whether the caller has to look it up."""
        with self._lock:
            now = self._clock()
            entry = self._entries.get(key)
            if entry is not None and entry.until > now:
                return entry.result, False
            self._entries.pop(key, None)  # so that the new one comes last
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            result: Future[_T] = Future()
            self._entries[key] = _Entry(now + self._seconds, result)
            return result, True

    def _fulfil(self, key: Hashable, result: Future[_T], look_up: Callable[[], _T]) -> None:
        try:
            result.set_result(look_up())
        except BaseException as error:
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None and entry.result is result:
                    del self._entries[key]
            result.set_exception(error)
