"""Decides whether this process is alive and ready, for Kubernetes' probes."""

from app.common.errors import ErrorKind, ServiceError
from app.definitions.registry import DefinitionsUnreadError, Registry
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
        registry: the definitions in force.
        dispatcher: the dispatcher of this process; `None` if it has none.
    """

    def __init__(self, client: NamespacedClient, registry: Registry, dispatcher: Dispatcher | None) -> None:
        self._client = client
        self._registry = registry
        self._dispatcher = dispatcher
        self._has_been_ready = False

    def check_live(self) -> None:
        """Check this process alone: an outage elsewhere must not make Kubernetes restart it.

        Raises:
            StuckError: the dispatcher is stuck, so queued runs might wait forever.
        """
        if self._dispatcher is not None and self._dispatcher.stuck:
            raise StuckError("one of its threads has died or makes no progress")

    def check_ready(self) -> None:
        """Check that this service's account can read runs, and that all definitions have been read.

        After the first success the API server is not asked again: a service that loses its API server later must stay
        reachable, so that it can tell its callers.

        Raises:
            ClusterError: runs cannot be read yet.
            DefinitionsUnreadError: the CronJobs have not been read yet.
        """
        if not self._has_been_ready:
            next(self._client.pages(self._client.runs))
            if self._registry.awaits_cronjobs:
                raise DefinitionsUnreadError("the CronJobs have not been read yet")
            self._has_been_ready = True
