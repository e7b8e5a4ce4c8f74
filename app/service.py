"""The parts of one process, put together: what the web application and the command line both need."""

from dataclasses import dataclass

from app.cluster.client import connect
from app.cluster.namespace import Namespace
from app.dispatch.loop import Dispatcher
from app.services.definitions import Catalogue
from app.services.queues import Queues
from app.services.streams import Streams
from app.settings import Settings
from schemas.configuration import parse_configuration


@dataclass(frozen=True, slots=True)
class Service:
    """What one process works with.

    Attributes:
        settings: how it is set up.
        namespace: where its runs are.
        catalogue: the definitions in force.
        streams: the places for calls that last.
        queues: how many runs may wait; watched from when that is first asked, or `start` is called.
        dispatcher: not started yet; `None` where the settings turn it off.
    """

    settings: Settings
    namespace: Namespace
    catalogue: Catalogue
    streams: Streams
    queues: Queues
    dispatcher: Dispatcher | None

    def start(self) -> None:
        """Start what has threads of its own, in the process that serves: they don't survive a fork."""
        if any(map(self.queues.bounds, self.catalogue.all())):
            self.queues.start()
        if self.dispatcher is not None:
            self.dispatcher.start()

    def stop(self) -> None:
        """Stop it; the dispatcher gives its lease back."""
        self.queues.stop()
        if self.dispatcher is not None:
            self.dispatcher.stop()

    def dispatcher_state(self) -> str:
        """`leading`, `following`, or `off` where this process has no dispatcher."""
        if self.dispatcher is None:
            return "off"
        return "leading" if self.dispatcher.leading else "following"


def build_service(settings: Settings) -> Service:
    """Read the configuration and find the API server; nothing is called and no thread started yet.

    Raises:
        Refused: the configuration has faults.
        ClusterSettingsError: there is no way to an API server.
    """
    catalogue = Catalogue(parse_configuration(settings.configuration))
    namespace = Namespace(connect(settings.kubeconfig, settings.namespace, streams=settings.max_streams))
    dispatcher = None
    if settings.dispatcher:
        dispatcher = Dispatcher(namespace, catalogue.slots, instance=settings.instance)
    return Service(
        settings,
        namespace,
        catalogue,
        Streams(settings.max_streams),
        Queues(namespace, settings.max_queued),
        dispatcher,
    )
