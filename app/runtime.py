"""The parts of one process, for the web application and for the command line."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.common.types import Json
from app.definitions.config_watcher import ConfigWatcher
from app.definitions.cronjob_events import CronJobEvents
from app.definitions.cronjob_watcher import CronJobsState, CronJobWatcher
from app.definitions.registry import Registry
from app.definitions.template_checker import TemplateChecker
from app.dispatcher.loop import Dispatcher, NotificationOptions
from app.dispatcher.schedule_keeper import ScheduleKeeper
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.shared_watch import SharedWatch
from app.runs.limits.long_requests import LongRequestLimiter
from app.runs.limits.queue_limiter import QueueLimiter
from app.runs.reader import RunReader
from app.settings import Settings
from app.telemetry import metrics
from app.telemetry.spans import end_spans, set_up_spans
from schemas.run import RunSchema

if TYPE_CHECKING:
    from app.notifications.sender import NotificationSender

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts of one process.

    Attributes:
        settings: the settings of the process.
        client: the client for the runs' namespace.
        config_watcher: keeps the definitions up to date with the job configuration.
        cronjob_watcher: the same with CronJobs; `None`: the settings turn it off.
        cronjob_events: tells what is wrong with CronJobs; `None`: this process has no dispatcher, or no such watcher.
        templates: checks the definitions' templates with the API server, where requests start runs.
        long_requests: limits the requests that wait for a run or read a log.
        queues: limits the number of queued runs. It watches runs only while a limit is set.
        dispatcher: the dispatcher; `None`: the settings turn it off.
        schedule_keeper: keeps the CronJobs of schedules; `None`: this process has no dispatcher.
    """

    settings: Settings
    client: NamespacedClient
    config_watcher: ConfigWatcher
    cronjob_watcher: CronJobWatcher | None
    cronjob_events: CronJobEvents | None
    templates: TemplateChecker
    long_requests: LongRequestLimiter
    queues: QueueLimiter
    dispatcher: Dispatcher | None
    schedule_keeper: ScheduleKeeper | None

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
            if self.settings.max_queued is None:
                log.warning("SLIMFAAS_MAX_QUEUED is 0: any number of runs may be queued")
            self._watch_queues()
        self._count_definitions()
        self.config_watcher.on_change = partial(self._apply_definitions, serves=serves)
        self.config_watcher.start()
        if self.cronjob_watcher is not None:
            self.cronjob_watcher.on_change = partial(self._apply_definitions, serves=serves)
            self.cronjob_watcher.start()
        if self.cronjob_events is not None:
            self.cronjob_events.start()
        if serves:
            self.templates.start()
        if self.dispatcher is not None:
            self.dispatcher.start()
        if self.schedule_keeper is not None:
            self.schedule_keeper.start()

    def _apply_definitions(self, *, serves: bool) -> None:
        """Apply definitions that have just come into force."""
        self._count_definitions()
        if self.cronjob_events is not None:
            self.cronjob_events.wake()
        if self.schedule_keeper is not None:  # before the dispatcher, which asks it which runs may not start
            self.schedule_keeper.wake()
        if self.dispatcher is not None:
            self.dispatcher.wake()
        if serves:
            self._watch_queues()
            self.templates.start()

    def _count_definitions(self) -> None:
        state = self.cronjobs_state()
        metrics.definitions_in_force(len(self.registry.all()) - state.definitions, state.definitions, state.refused)

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
            stack.callback(self.templates.stop)
            stack.callback(self.config_watcher.stop)
            if self.cronjob_watcher is not None:
                stack.callback(self.cronjob_watcher.stop)
            if self.cronjob_events is not None:
                stack.callback(self.cronjob_events.stop)
            if self.schedule_keeper is not None:
                stack.callback(self.schedule_keeper.stop)
            if self.dispatcher is not None:
                stack.callback(self.dispatcher.stop)
            stack.callback(self.queues.stop)

    def cronjobs_state(self) -> CronJobsState:
        """Return how the definitions in force compare with the CronJobs."""
        return CronJobsState("Off") if self.cronjob_watcher is None else self.cronjob_watcher.state

    def dispatcher_state(self) -> str:
        """Return `leading`, `following`, or `off` if this process has no dispatcher."""
        if self.dispatcher is None:
            return "off"
        return "leading" if self.dispatcher.leading else "following"

    def ignored_gates(self) -> int:
        """Return how many runs this process' dispatcher has seen that Kueue had started before they were admitted."""
        return 0 if self.dispatcher is None else self.dispatcher.ignored_gates


def build_runtime(settings: Settings) -> Runtime:
    """Build the parts of a process, without any call to the API server and without a thread.

    Raises:
        Refused: the job configuration has faults.
        ClusterSettingsError: no API server is configured.
    """
    config_watcher = ConfigWatcher(settings.configuration, settings.configuration_file)
    client = NamespacedClient(connect(settings.kubeconfig, settings.namespace, streams=settings.max_streams))
    runs_watch = SharedWatch(client, client.runs, name="runs")
    dispatcher = _build_dispatcher(settings, client, config_watcher, runs_watch) if settings.dispatcher else None
    cronjob_watcher = CronJobWatcher(client, config_watcher.registry) if settings.cronjob_definitions else None
    cronjob_events = None
    if cronjob_watcher is not None and dispatcher is not None:
        cronjob_events = CronJobEvents(
            client, cronjob_watcher.refusals, lambda: dispatcher.leading, instance=settings.instance
        )
    schedule_keeper = None
    if dispatcher is not None:
        schedule_keeper = ScheduleKeeper(
            client,
            cronjob_watcher.watch if cronjob_watcher else None,
            config_watcher.registry.all,
            config_watcher.registry.is_undecided,
            lambda: dispatcher.leading,
            settings.instance,
        )
        dispatcher.refused_schedules = lambda: schedule_keeper.refused_requests
    return Runtime(
        settings=settings,
        client=client,
        config_watcher=config_watcher,
        cronjob_watcher=cronjob_watcher,
        cronjob_events=cronjob_events,
        templates=TemplateChecker(client, config_watcher.registry),
        long_requests=LongRequestLimiter(settings.max_streams, reserve=partial(_has_public, config_watcher.registry)),
        queues=QueueLimiter(client, settings.max_queued, settings.max_queued_bytes, runs_watch=runs_watch),
        dispatcher=dispatcher,
        schedule_keeper=schedule_keeper,
    )


def _has_public(registry: Registry) -> bool:
    """Decide whether there are callers whom nobody trusts: those of public definitions."""
    return any(definition.visibility == "Public" for definition in registry.all())


def _build_dispatcher(
    settings: Settings, client: NamespacedClient, config_watcher: ConfigWatcher, runs_watch: SharedWatch
) -> Dispatcher:
    return Dispatcher(
        client,
        config_watcher.registry.slots,
        instance=settings.instance,
        runs_watch=runs_watch,
        start_error_seconds=settings.start_error_timeout_seconds,
        notifications=build_notification_options(settings, client, config_watcher.registry),
    )


def build_notification_options(settings: Settings, client: NamespacedClient, registry: Registry) -> NotificationOptions:
    """Build what a dispatcher needs for notifications. Nothing of it takes memory before the first one."""
    reader = RunReader(client, registry.slots)

    def describe(job: Json) -> Json:
        described: Json = RunSchema().dump(reader.view(job))
        return described

    def make_sender() -> "NotificationSender":
        from app.notifications.sender import NotificationSender, SenderSettings  # few installations need it

        sender_settings = SenderSettings(
            allowed_networks=settings.notify_allowed_networks,
            secrets_folder=settings.notify_secrets_folder,
            ca_file=settings.notify_ca_file,
        )
        return NotificationSender(sender_settings, client.transport.host)

    return NotificationOptions(registry.find, describe, make_sender)
