"""What dispatchers have told before: the Events that the API server still has."""

import logging
import time
from collections.abc import Callable, Collection, Iterator

from app.common.outage_logger import OutageLogger
from app.domain.pending_reason import PendingReason
from app.domain.run import Run
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ForbiddenError

log = logging.getLogger(__name__)

_READS = 3
"""How often the reading of Events may fail before what was told is told again, which makes no second Event of it."""


class Archive:
    """The Events that dispatchers have written, as far as the API server still has them.

    Args:
        client: whose.
    """

    def __init__(self, client: NamespacedClient) -> None:
        self._client = client
        self._pages: Iterator[list[str]] | None = None
        self._names: set[str] = set()  # also those of pages before a failure: they were written all the same
        self._failures = 0
        self._outage = OutageLogger(log, "the Events on runs can't be read")

    def read(self, enough_at: float, goes_on: Callable[[], bool], queued: Collection[str]) -> bool:
        """Read on, for a while; whether that is done with.

        Args:
            enough_at: no further page is read after this moment (`time.monotonic`).
            goes_on: asked before every page whether there is any sense in it still.
            queued: the names of the runs that this is about.

        Raises:
            ClusterError: it has to begin again.
        """
        if self._pages is None:
            self._pages = self._client.event_names()
        while goes_on() and time.monotonic() < enough_at:
            try:
                names = next(self._pages, None)
            except ClusterError as error:
                self._outage.failed(error)
                self._pages = None
                self._failures += 1
                if isinstance(error, ForbiddenError) or self._failures == _READS:
                    return True
                raise
            if names is None:
                return True
            self._names.update(name for name in names if name.rpartition(".")[0] in queued)
        return False

    def told(self, run: Run, cause: PendingReason) -> PendingReason | None:
        """What a run was told: this cause, else another one; `None`: nothing."""
        return next((one for one in (cause, *PendingReason) if event_name(run, one) in self._names), None)


def event_name(run: Run, cause: PendingReason) -> str:
    """An Event's name, one per run and cause: a lost answer or another leader makes no second Event of it."""
    return f"{run.name}.{cause.value.lower()}"
