"""The parts of one process, for the web application and for the command line."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from app.definitions.config_watcher import ConfigWatcher
from app.definitions.registry import Registry
from app.dispatcher.loop import Dispatcher
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.runs.limits.long_requests import LongRequestLimiter
from app.runs.limits.queue_limiter import QueueLimiter
from app.settings import Settings
from app.telemetry import metrics
from app.telemetry.spans import end_spans, set_up_spans


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one process.

    Attributes:
        settings: the settings of the process.
        client: the client for the runs' namespace.
        config_watcher: keeps the definitions up to date with the job configuration.
        long_requests: limits the requests that wait for a run or read a log.
        queues: limits the number of queued runs. It watches runs only while a limit is set.
        dispatcher: the dispatcher; `None`: the settings turn it off.
    """

    settings: Settings
    client: NamespacedClient
    config_watcher: ConfigWatcher
    long_requests: LongRequestLimiter
    queues: QueueLimiter
    dispatcher: Dispatcher | None

    @property
    def registry(self) -> Registry:
        """The definitions in force."""
        return self.config_watcher.registry

    def start(self, *, serves: bool) -> None:
        """Start the background threads.

        Call this after the last fork: threads do not survive it.

        Args:
            serves: whether this process serves the HTTP API, not only the probes.
        """
        if self.settings.traces:
            set_up_spans()
        if serves:
            metrics.LONG_REQUESTS_LIMIT.set(self.settings.max_streams)
            self._watch_queues()
        self.config_watcher.on_change = partial(self._apply_definitions, serves=serves)
        self.config_watcher.start()
        if self.dispatcher is not None:
            self.dispatcher.start()

    def _apply_definitions(self, *, serves: bool) -> None:
        """Apply a configuration that has just come into force."""
        if self.dispatcher is not None:
            self.dispatcher.wake()
        if serves:
            self._watch_queues()

    def _watch_queues(self) -> None:
        """Watch the queues if any definition has a limit."""
        if any(map(self.queues.bounds, self.registry.all())):
            self.queues.start()
        else:
            self.queues.stop()

    def begin_shutdown(self) -> None:
        """Have the dispatcher release its Lease while the last requests complete; returns at once."""
        if self.dispatcher is not None:
            self.dispatcher.begin_shutdown()

    def stop(self) -> None:
        """Stop all background threads and release the Lease."""
        with ExitStack() as stack:  # callbacks run in reverse order, all of them even if one fails
            stack.callback(end_spans)
            stack.callback(self.config_watcher.stop)
            if self.dispatcher is not None:
                stack.callback(self.dispatcher.stop)
            stack.callback(self.queues.stop)

    def dispatcher_state(self) -> str:
        """Return `leading`, `following`, or `off` if this process has no dispatcher."""
        if self.dispatcher is None:
            return "off"
        return "leading" if self.dispatcher.leading else "following"


def build_runtime(settings: Settings) -> Runtime:
    """Build the parts of a process, without any call to the API server and without a thread.

    Raises:
        Refused: the job configuration has faults.
        ClusterSettingsError: no API server is configured.
    """
    config_watcher = ConfigWatcher(settings.configuration, settings.configuration_file)
    client = NamespacedClient(connect(settings.kubeconfig, settings.namespace, streams=settings.max_streams))
    return Runtime(
        settings=settings,
        client=client,
        config_watcher=config_watcher,
        long_requests=LongRequestLimiter(
            settings.max_streams, reserve=partial(_has_public_and_private, config_watcher.registry)
        ),
        queues=QueueLimiter(client, settings.max_queued),
        dispatcher=_build_dispatcher(settings, client, config_watcher) if settings.dispatcher else None,
    )


def _has_public_and_private(registry: Registry) -> bool:
    """Decide whether there are callers of private definitions, who are trusted, beside those of public ones."""
    return len({definition.visibility for definition in registry.all()}) > 1


def _build_dispatcher(settings: Settings, client: NamespacedClient, config_watcher: ConfigWatcher) -> Dispatcher:
    return Dispatcher(client, config_watcher.registry.slots, instance=settings.instance)
