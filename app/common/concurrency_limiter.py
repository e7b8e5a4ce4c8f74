"""Limits on how many requests call the API server at the same time.

Without a limit, an API server that hangs would soon hold every connection to it and every thread: no request that needs
another part of it could be answered, and callers would learn of the outage only by their own timeouts.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

from app.common.errors import ErrorKind, ServiceError
from app.telemetry import metrics

MAX_CALLS = 24
"""Requests that may call the API server at the same time. Fewer than the server's threads, which
app/server/gunicorn_conf.py sets, and, together with the dispatcher's calls, fewer than its connections to the API
server."""

MAX_READS = 12
"""Of these, requests about existing runs: they may need a long list, or wait for the lists of other requests."""

MAX_LOOKUPS = 6
"""Of these, look-ups of callers: a caller who sends many tokens must not block callers who need no look-up."""

MAX_WAITING_LOOKUPS = 12
"""Look-ups that may wait for as long as other requests do. Look-ups are needed by requests of every kind, so this is
what keeps them from holding all threads (app/server/request_lanes.py does so for the other limits)."""

MAX_WAIT_SECONDS = 10.0
"""The longest that a request waits for its turn, from its arrival on. Long enough for a burst of more than a thousand
requests, shorter than the timeouts of most HTTP clients."""

_SHORT_MAX_WAIT_SECONDS = 0.25
"""The same, for a request that finds `max_waiting` others waiting: long enough while the API server keeps up."""

arrived_at: ContextVar[float | None] = ContextVar("arrived_at", default=None)
"""When the request that the present thread answers arrived (`time.monotonic()`); `None`: not known, it counts from now.
Set by the server, so that the time in which a request waits for a thread counts as well."""


class BusyError(ServiceError):
    """Too many requests wait for the API server already."""

    kind = ErrorKind.UNAVAILABLE
    detail = "too many calls wait for the Kubernetes API server; nothing has been done"


class ConcurrencyLimiter:
    """Lets so many requests pass at the same time; the others wait for a permit, first come, first served.

    Args:
        permits: how many requests may pass.
        within: a limiter whose permit a request needs as well. It is asked second, so that a request that waits for one
            of the few permits here holds none of the many there.
        max_waiting: how many requests may wait for `MAX_WAIT_SECONDS`; any further request waits for a moment only.
            `None`: all may, because the threads bound how many there are.
        name: label of the metric of refusals.
    """

    def __init__(
        self,
        permits: int = MAX_CALLS,
        *,
        within: "ConcurrencyLimiter | None" = None,
        max_waiting: int | None = None,
        name: str = "calls",
    ) -> None:
        self._name = name
        self._within = within
        self._max_waiting = float("inf") if max_waiting is None else max_waiting
        self._lock = threading.Lock()
        self._free = permits
        self._waiting: deque[threading.Lock] = deque()  # each is locked until its request has a permit

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Wait for a permit, and hold it for as long as the context lasts.

        Raises:
            BusyError: there was none in time.
        """
        self._take()
        try:
            with self._within.acquire() if self._within else nullcontext():
                yield
        finally:
            self._give_back()

    @property
    def waiting(self) -> int:
        """How many requests wait for a permit."""
        return len(self._waiting)

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            max_wait_seconds = MAX_WAIT_SECONDS
            if (arrival := arrived_at.get()) is not None:
                max_wait_seconds -= time.monotonic() - arrival
            if len(self._waiting) >= self._max_waiting:
                max_wait_seconds = min(max_wait_seconds, _SHORT_MAX_WAIT_SECONDS)
            permit = threading.Lock()
            permit.acquire()
            self._waiting.append(permit)
        if permit.acquire(timeout=max(0.0, max_wait_seconds)):
            return
        with self._lock:
            if permit not in self._waiting:  # the permit came at the last moment
                return
            self._waiting.remove(permit)
        metrics.LIMITER_REFUSALS.labels(self._name).inc()
        raise BusyError("no permit became free in time")

    def _give_back(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()  # the permit passes to that request
            else:
                self._free += 1
