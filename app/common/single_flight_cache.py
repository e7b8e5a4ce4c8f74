"""What was looked up a moment ago, so that a caller who calls often costs few calls."""

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
    answer: Future[_T]


class SingleFlightCache(Generic[_T]):
    """Remembers answers, for a short time and not too many. Safe to share between threads.

    Those who ask for the same at the same time share one look-up. The time counts from the moment at which a look-up
    began, for its answer may be as old as that. A look-up that fails is forgotten at once; only those who wait for it
    share its failure.

    Args:
        limiter: where those wait who look up, or wait for another's look-up.
        seconds: how long an answer counts.
        kind: of what is looked up, for the metrics.
        size: how many are remembered; the oldest go first.
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
        """The answer for a key: remembered, or looked up now.

        Raises:
            BusyError: too many wait already.
            Exception: what `look_up` raises.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.answer.done() and entry.until > self._clock():
            self._count("remembered")
            return entry.answer.result()
        with self._limiter.acquire():
            answer, own = self._join(key)
            self._count("asked" if own else "remembered")
            if own:
                self._fulfil(key, answer, look_up)
            return answer.result()

    def _count(self, outcome: str) -> None:
        metrics.LOOKUPS.labels(self._kind, outcome).inc()

    def _join(self, key: Hashable) -> tuple[Future[_T], bool]:
        """The answer that there is or will be, and whether it is the caller's to look up."""
        with self._lock:
            now = self._clock()
            entry = self._entries.get(key)
            if entry is not None and entry.until > now:
                return entry.answer, False
            self._entries.pop(key, None)  # so that the new one comes last
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            answer: Future[_T] = Future()
            self._entries[key] = _Entry(now + self._seconds, answer)
            return answer, True

    def _fulfil(self, key: Hashable, answer: Future[_T], look_up: Callable[[], _T]) -> None:
        try:
            answer.set_result(look_up())
        except BaseException as error:
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None and entry.answer is answer:
                    del self._entries[key]
            answer.set_exception(error)
