"""Keeping threads free while calls wait for an API server that doesn't answer.

Without it, such calls would soon hold every thread: nobody would answer the liveness probe in time, and Kubernetes
would restart a process that is well, dispatcher and all.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from app.common.errors import ErrorKind, ServiceError
from app.telemetry import metrics

MAX_CALLS = 24
"""Calls that may wait for the API server at the same time; fewer than the server's threads (gunicorn.conf.py) and, with
those of the dispatcher, than its connections to the API server."""

MAX_READS = 12
"""Of these, calls about runs that there are: they may need a long list, or wait for the lists of others."""

MAX_LOOKUPS = 6
"""Of these, look-ups of callers: whoever sends many tokens must not keep those out who need no look-up."""

_PATIENCE_SECONDS = 0.25
"""How long a call waits for a place: long enough under load, when places are given back all the time."""


class BusyError(ServiceError):
    """Too many calls wait for the API server already."""

    kind = ErrorKind.UNAVAILABLE
    detail = "too many calls wait for the Kubernetes API server; nothing has been done"


class ConcurrencyLimiter:
    """Lets so many calls in at once.

    Args:
        places: how many.
        within: a gate of which each takes a place, too, but only once it has one here: who waits for one of the few
            keeps nobody from the many.
        name: what it bounds, for the metrics.
    """

    def __init__(
        self, places: int = MAX_CALLS, *, within: "ConcurrencyLimiter | None" = None, name: str = "calls"
    ) -> None:
        self._name = name
        self._places = threading.BoundedSemaphore(places)
        self._within = within

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a place for as long as the context lasts.

        Raises:
            BusyError: none became free.
        """
        if not self._places.acquire(timeout=_PATIENCE_SECONDS):
            metrics.LIMITER_REFUSALS.labels(self._name).inc()
            raise BusyError("no place became free")
        try:
            with self._within.acquire() if self._within else nullcontext():
                yield
        finally:
            self._places.release()
