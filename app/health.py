"""Decides whether this process is alive and ready, for Kubernetes' probes."""

from app.common.errors import ErrorKind, ServiceError
from app.dispatcher.loop import Dispatcher
from app.kube.client import NamespacedClient


class StuckError(ServiceError):
    """The dispatcher of this process is stuck; only a restart helps."""

    kind = ErrorKind.UNAVAILABLE
    detail = "the dispatcher is stuck"


class Health:
    """Checks the health of this process.

    Args:
        client: reads runs.
        dispatcher: the dispatcher of this process; `None` if it has none.
    """

    def __init__(self, client: NamespacedClient, dispatcher: Dispatcher | None) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._has_been_ready = False

    def check_live(self) -> None:
        """Check this process alone: an outage elsewhere must not make Kubernetes restart it.

        Raises:
            StuckError: the dispatcher is stuck, so queued runs might wait forever.
        """
        if self._dispatcher is not None and self._dispatcher.stuck:
            raise StuckError("a thread of it has died or makes no progress")

    def check_ready(self) -> None:
        """Check that this service's account can read runs.

        After the first success the API server is not asked again: a service that loses its API server later must stay
        reachable, so that it can tell its callers.

        Raises:
            ClusterError: runs cannot be read yet.
        """
        if not self._has_been_ready:
            next(self._client.pages(self._client.runs))
            self._has_been_ready = True
