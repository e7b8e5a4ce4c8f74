"""The parts of one process, put together: what the web application and the command line both need."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from app.cluster.credentials import connect
from app.cluster.namespace import Namespace
from app.dispatch.loop import Dispatcher
from app.observability import metrics
from app.observability.spans import end_spans, set_up_spans
from app.services.configuration import Configuration
from app.services.definitions import Catalogue
from app.services.queues import Queues
from app.services.streams import Streams
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """What one process works with.

    Attributes:
        settings: how it is set up.
        namespace: where its runs are.
        configuration: keeps the definitions at what is configured.
        streams: the places for calls that last.
        queues: how many runs may wait; watched while that is bounded.
        dispatcher: `None` where the settings turn it off.
    """

    settings: Settings
    namespace: Namespace
    configuration: Configuration
    streams: Streams
    queues: Queues
    dispatcher: Dispatcher | None

    @property
    def catalogue(self) -> Catalogue:
        """The definitions in force."""
        return self.configuration.catalogue

    def start(self, *, serves: bool) -> None:
        """Start what has threads of its own, in the process that has work for them: they don't survive a fork.

        Args:
            serves: whether this process answers calls.
        """
        if self.settings.traces:
            set_up_spans()
        if serves:
            metrics.STREAMS_LIMIT.set(self.settings.max_streams)
            self._watch_queues()
        self.configuration.on_change = partial(self._take_up, serves=serves)
        self.configuration.start()
        if self.dispatcher is not None:
            self.dispatcher.start()

    def _take_up(self, *, serves: bool) -> None:
        """Act on definitions that have just been put in force."""
        if self.dispatcher is not None:
            self.dispatcher.wake()
        if serves:
            self._watch_queues()

    def _watch_queues(self) -> None:
        """Watch the queues while there is a bound on any of them."""
        if any(map(self.queues.bounds, self.catalogue.all())):
            self.queues.start()
        else:
            self.queues.stop()

    def retire(self) -> None:
        """Have the dispatcher give the lease back, while the last calls are answered; returns at once."""
        if self.dispatcher is not None:
            self.dispatcher.retire()

    def stop(self) -> None:
        """Stop it; the dispatcher gives the lease back."""
        with ExitStack() as stops:  # each of them, the last one first, whatever becomes of the others
            stops.callback(end_spans)
            stops.callback(self.configuration.stop)
            if self.dispatcher is not None:
                stops.callback(self.dispatcher.stop)
            stops.callback(self.queues.stop)

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
    configuration = Configuration(settings.configuration, settings.configuration_file)
    namespace = Namespace(connect(settings.kubeconfig, settings.namespace, streams=settings.max_streams))
    dispatcher = None
    if settings.dispatcher:
        dispatcher = Dispatcher(namespace, configuration.catalogue.slots, instance=settings.instance)
    streams, queues = Streams(settings.max_streams), Queues(namespace, settings.max_queued)
    return Service(settings, namespace, configuration, streams, queues, dispatcher)
