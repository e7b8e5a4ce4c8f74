"""The parts of one process, put together: what the web application and the command line both need."""

import time
from dataclasses import dataclass

from app.cluster.client import connect
from app.cluster.namespace import Namespace
from app.dispatch.loop import Dispatcher
from app.observability import metrics
from app.observability.spans import end_spans, set_up_spans
from app.services.definitions import Catalogue
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
        dispatcher: not started yet; `None` where the settings turn it off.
        loaded_at: when the configuration was read, seconds since the epoch.
    """

    settings: Settings
    namespace: Namespace
    catalogue: Catalogue
    streams: Streams
    dispatcher: Dispatcher | None
    loaded_at: float

    def start(self) -> None:
        """Start what runs beside the calls; in the process that is to serve, for threads don't survive a fork."""
        if self.settings.traces:
            set_up_spans()
        metrics.STREAMS_LIMIT.set(self.settings.max_streams)
        metrics.configuration_in_force(self.loaded_at)
        if self.dispatcher is not None:
            self.dispatcher.start()

    def stop(self) -> None:
        """Stop it; the dispatcher gives the lease back."""
        if self.dispatcher is not None:
            self.dispatcher.stop()
        end_spans()

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
    return Service(settings, namespace, catalogue, Streams(settings.max_streams), dispatcher, time.time())
