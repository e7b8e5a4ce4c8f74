"""The limit on long requests: those that wait for a run, or read a log.

Each holds a thread for as long as it lasts. gunicorn has as many threads more (gunicorn.conf.py), so that all other
requests get theirs. One thread watches all long requests. It ends those whose client has left or whose time is up, and
all of them when the process is to stop.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.common.errors import ErrorKind, ServiceError
from app.kube.cancel_token import CancelToken
from app.telemetry import metrics

_CHECK_SECONDS = 0.5
"""How often clients are checked."""


class TooManyLongRequestsError(ServiceError):
    """There are as many long requests as there may be."""

    kind = ErrorKind.TOO_MANY
    reason = "TooManyStreams"
    detail = "too many calls wait for runs or read logs; nothing has been done"


@dataclass(frozen=True, slots=True)
class _ActiveRequest:
    cancel_token: CancelToken
    gone: Callable[[], bool]
    deadline: float
    trusted: bool

    def is_over(self, now: float) -> bool:
        return now >= self.deadline or self.gone()


class LongRequestLimiter:
    """Limits the long requests. Its thread starts with the first of them.

    Args:
        limit: how many there may be at the same time.
        reserve: whether a quarter of the limit is kept for trusted callers, and another quarter for all others, so that
            neither can keep the other out. Asked for each request, because the configuration may change.

    Attributes:
        stopping: tells whether the process is to stop. The server sets it.
    """

    def __init__(self, limit: int, *, reserve: Callable[[], bool] = lambda: False) -> None:
        self._limit = limit
        self._reserve = reserve
        self._changed = threading.Condition()
        self._active_requests: set[_ActiveRequest] = set()
        self._thread: threading.Thread | None = None
        self.stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def acquire(
        self, gone: Callable[[], bool], seconds: float | None = None, *, trusted: bool = False
    ) -> Iterator[CancelToken]:
        """Count a request as a long one for as long as the context lasts.

        Args:
            gone: tells whether the client has left; called from another thread, must not raise.
            seconds: how long the client wants to wait; `None`: without a limit.
            trusted: whether the caller is known to be trusted.

        Yields:
            A token that is set when the request has to end: the client has left, its time is up, or the process is to
            stop.

        Raises:
            TooManyLongRequestsError: the limit is reached. Nobody waits for its turn.
        """
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        active = _ActiveRequest(CancelToken(), gone, deadline, trusted)
        limit_of_kind = self._limit - self._limit // 4 if self._reserve() else self._limit
        with self._changed:
            same_kind = sum(other.trusted == trusted for other in self._active_requests)
            if len(self._active_requests) >= self._limit or same_kind >= limit_of_kind:
                metrics.LIMITER_REFUSALS.labels("streams").inc()
                raise TooManyLongRequestsError(f"{len(self._active_requests)} of {self._limit} places are taken")
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="streams", daemon=True)
                thread.start()  # before anything else: where no thread can be started, the next request tries again
                self._thread = thread
            self._active_requests.add(active)
            self._changed.notify_all()
        try:
            with metrics.LONG_REQUESTS.track_inprogress():
                yield active.cancel_token
        finally:
            with self._changed:
                self._active_requests.remove(active)

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._active_requests)
                active_requests = [active for active in self._active_requests if not active.cancel_token.is_set]
            now, stopping = time.monotonic(), self.stopping()
            for active in active_requests:
                if stopping or active.is_over(now):
                    active.cancel_token.set()
            left_seconds = min(
                (active.deadline - now for active in active_requests if not active.cancel_token.is_set), default=1.0
            )
            with self._changed:
                self._changed.wait(min(left_seconds, _CHECK_SECONDS))
