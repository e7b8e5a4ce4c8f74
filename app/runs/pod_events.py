"""Why the pods of admitted runs can't be created or started, read from Events and remembered for a few seconds."""

import logging
import threading
import time
from collections.abc import Callable

from app.common.expiring_cache import ExpiringCache
from app.common.outage_logger import OutageLogger
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.kube.pod_events import PodEvent, find_last_refusal, find_mount_failure

log = logging.getLogger(__name__)

_FRESH_SECONDS = 5.0
"""How long an answer serves later requests. To find a run's Events, the API server reads all of the namespace."""

_MAX_KEPT = 256
"""For how many runs answers are kept: about 300 KiB with the longest messages."""

_GRACE_SECONDS = 2.0
"""How long a run may have no pod, or a pod no container, before its Events are read. Usually they come sooner."""

_NOTHING_KNOWN = PodEvent(at=0, message="")


class PodEvents:
    """Finds out why runs have no pod, or a pod without its volumes. Safe to share between threads.

    Args:
        client: of the namespace that the runs are in.
        clock: seconds that never go back.
    """

    def __init__(self, client: NamespacedClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: ExpiringCache[str, PodEvent] = ExpiringCache(_FRESH_SECONDS, max_entries=_MAX_KEPT, clock=clock)
        self._outage = OutageLogger(
            log, "the Events of runs can't be read, so no run tells why it has no pod or no volumes", clock
        )

    def explain_refusal(self, uid: str, since: int) -> str:
        """Say why the pod of a run could not be created; empty: nothing is known.

        This makes at most one call. If the call fails, the run can be shown without this text.

        Args:
            uid: of the run's Job.
            since: since when the run waits for its pod, microseconds since the epoch. Earlier refusals are of an
                earlier pod.
        """
        return self._explain(uid, since, lambda: find_last_refusal(self._client.failed_creates(uid)))

    def explain_mount(self, pod: str, since: int) -> str:
        """Say why the volumes of a pod are not mounted; empty: nothing is known, or they are.

        This makes at most one call. If the call fails, the run can be shown without this text.

        Args:
            pod: its name. The Job controller gives a name to no second pod.
            since: when it was created, microseconds since the epoch.
        """
        return self._explain(f"pod/{pod}", since, lambda: find_mount_failure(self._client.events_of_pod(pod)))

    def _explain(self, key: str, since: int, find: Callable[[], PodEvent | None]) -> str:
        if self._client.transport.clock.now() - since / 1_000_000 < _GRACE_SECONDS:
            return ""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                # Requests that come while this one reads get what was known, instead of reading the same.
                self._known.put(key, _NOTHING_KNOWN)
        if known is None:
            known = self._read(key, find)
        return known.message if known.at >= since else ""

    def _read(self, key: str, find: Callable[[], PodEvent | None]) -> PodEvent:
        try:
            found = find() or _NOTHING_KNOWN
        except ClusterError as error:
            with self._lock:
                self._outage.failed(error)
            return _NOTHING_KNOWN
        with self._lock:
            self._known.put(key, found)
            self._outage.recovered()
        return found
