"""The places for calls that last: waits and logs.

Each holds a thread for as long as it lasts, so there are only so many; gunicorn has that many threads more
(gunicorn.conf.py), and all other calls get theirs. One thread looks after all of them: it ends those whose client has
left, whose time is up, or all of them when the process is to stop.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.common.errors import ErrorKind, ServiceError
from app.kube.cancel_token import CancelToken
from app.telemetry import metrics

_LOOK_SECONDS = 0.5
"""How often clients are looked after."""


class TooManyLongRequestsError(ServiceError):
    """All places are taken."""

    kind = ErrorKind.TOO_MANY
    reason = "TooManyStreams"
    detail = "too many calls wait for runs or read logs; nothing has been done"


@dataclass(frozen=True, slots=True)
class _ActiveRequest:
    cancel_token: CancelToken
    gone: Callable[[], bool]
    deadline: float

    def is_over(self, now: float) -> bool:
        return now >= self.deadline or self.gone()


class LongRequestLimiter:
    """Gives places to calls that last. No thread runs before the first of them comes.

    Args:
        places: how many.

    Attributes:
        stopping: says whether the process is to stop; whoever runs it puts a better answer here.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._changed = threading.Condition()
        self._active_requests: set[_ActiveRequest] = set()
        self._thread: threading.Thread | None = None
        self.stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def acquire(self, gone: Callable[[], bool], seconds: float | None = None) -> Iterator[CancelToken]:
        """Hold a place for as long as the context lasts.

        Args:
            gone: says whether the client has left; called from another thread, must not raise.
            seconds: how long the client wants to wait; `None`: for ever.

        Yields:
            What is set when there is no more reason to go on: the client has left, its time is up, or the process is
            to stop.

        Raises:
            TooManyLongRequestsError: there is none; nobody is made to wait for one.
        """
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        active = _ActiveRequest(CancelToken(), gone, deadline)
        with self._changed:
            if len(self._active_requests) >= self._places:
                metrics.LIMITER_REFUSALS.labels("streams").inc()
                raise TooManyLongRequestsError(f"all {self._places} places are taken")
            if self._thread is None:
                thread = threading.Thread(target=self._look_after, name="streams", daemon=True)
                thread.start()  # first of all: where there is none to be had, the next call tries again
                self._thread = thread
            self._active_requests.add(active)
            self._changed.notify_all()
        try:
            with metrics.LONG_REQUESTS.track_inprogress():
                yield active.cancel_token
        finally:
            with self._changed:
                self._active_requests.remove(active)

    def _look_after(self) -> None:
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
                self._changed.wait(min(left_seconds, _LOOK_SECONDS))
