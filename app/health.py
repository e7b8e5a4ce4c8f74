"""Whether this process can serve."""

from app.common.errors import ErrorKind, ServiceError
from app.dispatcher.loop import Dispatcher
from app.kube.client import NamespacedClient


class StuckError(ServiceError):
    """The dispatcher of this process gets nowhere, and nothing but a restart will help."""

    kind = ErrorKind.UNAVAILABLE
    detail = "the dispatcher is stuck"


class Health:
    """What the probes ask for.

    Args:
        client: where runs are.
        dispatcher: of this process; `None`: it has none.
    """

    def __init__(self, client: NamespacedClient, dispatcher: Dispatcher | None) -> None:
        self._client = client
        self._dispatcher = dispatcher
        self._reached = False

    def check_live(self) -> None:
        """Look at this process alone: no outage of others may get it killed.

        Raises:
            StuckError: it has a dispatcher that doesn't get on, so that queued runs may wait for ever.
        """
        if self._dispatcher is not None and self._dispatcher.stuck:
            raise StuckError("the dispatcher gets nowhere")

    def check_ready(self) -> None:
        """Ask the API server once, with this service's own rights, whether runs can be read.

        After the first success nothing is asked any more: a service that loses its API server later must stay
        reachable, to tell its callers so.

        Raises:
            ClusterError: not yet.
        """
        if not self._reached:
            next(self._client.pages(self._client.runs))
            self._reached = True
