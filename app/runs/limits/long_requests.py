"""The limit on long requests: requests that wait for a run or read a log.

Each long request holds a thread until it ends. gunicorn has one additional thread for each
(app/server/gunicorn_conf.py), so other requests still find threads. One thread watches all long requests. It ends a
request whose client has left or whose time is over, and ends all of them when the process stops.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from app.common.errors import ErrorKind, ServiceError
from app.kube.cancel_token import CancelToken
from app.telemetry import metrics

_CHECK_SECONDS = 0.5
"""How often clients are checked."""


class TooManyLongRequestsError(ServiceError):
    """The limit on long requests is reached."""

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


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether a caller is trusted.

    Attributes:
        known: whether the caller is already known to be trusted.
        find: finds out whether the caller is trusted. It may need an API call, so it is called only if `known` is false
            and the only free places are kept for trusted callers. It must not raise.
    """

    known: bool = False
    find: Callable[[], bool] = lambda: False


STRANGER = Trust()
"""The trust in a caller who can't be identified."""


class LongRequestLimiter:
    """Limits the long requests. Its thread starts with the first of them.

    Args:
        limit: the most long requests at the same time.
        reserve: returns whether a quarter of the limit is kept for trusted callers and another quarter for all others,
            so that neither group can take all places. Called for each request, because the configuration may change.

    Attributes:
        stopping: returns whether the process is stopping. The server sets it.
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
        self, gone: Callable[[], bool], seconds: float | None = None, *, trust: Trust = STRANGER
    ) -> Iterator[CancelToken]:
        """Count a request as a long one for as long as the context lasts.

        Args:
            gone: tells whether the client has left; called from another thread, must not raise.
            seconds: how long the client wants to wait; `None`: without a limit.
            trust: whether the caller is trusted.

        Yields:
            A token that is set when the request must end: the client has left, its time is over, or the process stops.

        Raises:
            TooManyLongRequestsError: the limit is reached. The request is not queued.
        """
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        active = _ActiveRequest(CancelToken(), gone, deadline, trust.known)
        if not self._enter(active):
            active = replace(active, trusted=True)
            if trust.known or not (self._has_room(trusted=True) and trust.find() and self._enter(active)):
                metrics.LIMITER_REFUSALS.labels("streams").inc()
                raise TooManyLongRequestsError(f"{len(self._active_requests)} of {self._limit} places are taken")
        try:
            with metrics.LONG_REQUESTS.track_inprogress():
                yield active.cancel_token
        finally:
            with self._changed:
                self._active_requests.remove(active)

    def _has_room(self, *, trusted: bool) -> bool:
        limit_of_kind = self._limit - self._limit // 4 if self._reserve() else self._limit
        same_kind = sum(other.trusted == trusted for other in self._active_requests.copy())
        return len(self._active_requests) < self._limit and same_kind < limit_of_kind

    def _enter(self, active: _ActiveRequest) -> bool:
        """Count a request; returns whether there was a place for it."""
        with self._changed:
            if not self._has_room(trusted=active.trusted):
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._watch, name="streams", daemon=True)
                thread.start()  # before anything else: where no thread can be started, the next request tries again
                self._thread = thread
            self._active_requests.add(active)
            self._changed.notify_all()
            return True

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
