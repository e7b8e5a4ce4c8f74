"""How many schedules requests have made of each definition."""

import threading
import time
from collections.abc import Callable

from app.common.expiring_cache import ExpiringCache
from app.kube.client import NamespacedClient
from app.kube.schedules import read_origin

_FRESH_SECONDS = 1.0
"""How long a list serves later requests. It reads every schedule of the definition, some MiB if they are large, and
anyone may ask for a schedule of a public definition."""

_MAX_DEFINITIONS = 1024


class ScheduleCounter:
    """Counts schedules by lists that serve for a second. Safe to share between threads.

    Args:
        client: of the namespace that they are in.
        clock: seconds that never go back.
    """

    def __init__(self, client: NamespacedClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._counts: ExpiringCache[str, int] = ExpiringCache(_FRESH_SECONDS, max_entries=_MAX_DEFINITIONS, clock=clock)

    def count(self, definition: str) -> int:
        """Return how many schedules requests have made of a definition, as of at most a second ago.

        Raises:
            ClusterError: the call to the API server failed.
        """
        with self._lock:
            known = self._counts.get(definition)
        if known is None:
            stored = self._client.objects(self._client.schedules_of(definition))
            known = sum(read_origin(cronjob) == "http" for cronjob in stored)
            with self._lock:
                self._counts.put(definition, known)
        return known

    def forget(self, definition: str) -> None:
        """Count again: a schedule of the definition was made or deleted, or may have been."""
        with self._lock:
            self._counts.drop(definition)
