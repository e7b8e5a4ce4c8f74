"""Kubernetes Events on CronJobs that are meant to be definitions and are refused. The leader writes them."""

import logging
import threading
from collections.abc import Callable, Sequence

from app.common.backoff import Backoff
from app.common.outage_logger import OutageLogger
from app.definitions.cronjob_watcher import Refusal
from app.kube.client import NamespacedClient
from app.kube.cronjob_warnings import warn_about_cronjob
from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_PER_SECOND = 2
"""At most so many Events are written per second."""

_LOOK_SECONDS = 5.0
"""How often a process that has something to tell checks whether it leads. This makes no call."""

_BACKOFF = Backoff(first_seconds=1.0, last_seconds=60.0)


class CronJobEvents:
    """Writes one Event for each refused version of a CronJob, in a thread of its own.

    Args:
        client: of the namespace.
        refusals: returns what is to be told.
        is_leading: whether this process's dispatcher leads.
        instance: of this process, for the Events.
    """

    def __init__(
        self,
        client: NamespacedClient,
        refusals: Callable[[], Sequence[Refusal]],
        is_leading: Callable[[], bool],
        instance: str,
    ) -> None:
        self._client = client
        self._refusals = refusals
        self._is_leading = is_leading
        self._instance = instance
        self._told: frozenset[Refusal] = frozenset()
        self._backoff = _BACKOFF
        self._outage = OutageLogger(log, "Events on CronJobs can't be written")
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cronjob-events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the refusals again: they may have changed."""
        self._changed.set()

    def stop(self) -> None:
        """Ask the thread to end after its current call; returns at once."""
        self._stop.set()
        self._changed.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.clear()
            refusals = self._refusals()
            self._told &= frozenset(refusals)
            untold = [refusal for refusal in refusals if refusal not in self._told]
            if not untold:
                self._changed.wait()
            elif self._is_leading():
                self._stop.wait(self._tell(untold[0]))
            else:
                self._stop.wait(_LOOK_SECONDS)

    def _tell(self, refusal: Refusal) -> float:
        """Write one Event; return the pause that follows, in seconds."""
        try:
            warn_about_cronjob(
                self._client,
                self._instance,
                name=refusal.name,
                uid=refusal.uid,
                reason=refusal.reason,
                message=refusal.message,
                mark=f"{refusal.digest} {refusal.message}",
            )
            self._outage.recovered()
        except ClusterError as error:
            self._outage.failed(error)
            if error.retryable:
                self._backoff = self._backoff.next(0.0)
                return max(self._backoff.seconds, error.retry_after_seconds or 0)
        except Exception:
            log.exception("the Event on the CronJob %s could not be written", refusal.name)
        self._told |= {refusal}
        self._backoff = self._backoff.reset()
        return 1 / _PER_SECOND
