"""Delivers notifications while this dispatcher leads, with threads of its own: no admission waits for a receiver.

For each run: read it, so that nothing is sent for one that is gone or has been told; send the event; then write on the
run that it is told, which also gives it its TTL. Only this last write is made, once, and it carries the version that
was read. A leader that dies in between has the event sent again by the next one, under the same id.
"""

import logging
import threading
from collections.abc import Callable, Container
from dataclasses import dataclass

from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.deliveries import WORKERS, Deliveries, Delivery, FindDefinition
from app.dispatcher.notification_metrics import NotificationMetrics
from app.dispatcher.run_store import RunStore
from app.domain.run import Run
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, DeniedError, ForbiddenError, NotFoundError
from app.kube.manifests import build_notification
from app.kube.parsing import is_run, read_notification, read_run
from app.notifications.event import build_event_request
from app.notifications.sender import DeliveryError, NotificationSender
from app.telemetry import metrics
from schemas.run import Notification

log = logging.getLogger(__name__)

_WRITES = 3
"""How often a write is tried at once if the run changes meanwhile."""

_COUNTED = {
    Notification.DELIVERED: "delivered",
    Notification.GIVEN_UP: "given_up",
    Notification.NOT_WANTED: "not_wanted",
}


@dataclass(frozen=True, slots=True)
class NotifierParts:
    """What the notifier needs of the dispatcher that it belongs to, and of the process.

    Attributes:
        client: of the namespace.
        signal: its lock guards the runs.
        runs: returns the leader's store.
        may_write: asked before each delivery whether this dispatcher leads and its view is current.
        slots: the configured definitions. A Job may have any other name in its label.
        find_definition: see `FindDefinition`.
        describe: returns a run, given its Job, as `GET` shows it.
        sender: sends.
        tell_given_up: records an Event on a run that is given up, with the reason.
        clock: seconds that never go back.
    """

    client: NamespacedClient
    signal: ChangeSignal
    runs: Callable[[], RunStore]
    may_write: Callable[[], bool]
    slots: Callable[[], Container[str]]
    find_definition: FindDefinition
    describe: Callable[[Json], Json]
    sender: NotificationSender
    tell_given_up: Callable[[Run, str], None]
    clock: Callable[[], float]


class Notifier:
    """Delivers notifications. Its threads start with it."""

    def __init__(self, parts: NotifierParts) -> None:
        self._parts = parts
        self._deliveries = Deliveries()
        self._metrics = NotificationMetrics(parts.clock)
        self._outages: dict[str, OutageLogger] = {}
        self._api_outage = OutageLogger(log, "the notifications of runs can't be read or written", parts.clock)
        self._work = threading.Condition(parts.signal.lock)
        self._stopped = False
        self.threads = [
            threading.Thread(target=self._run, name=f"notifier-{number}", daemon=True) for number in range(WORKERS)
        ]
        for thread in self.threads:
            thread.start()

    def wake(self) -> None:
        """Wake one waiting thread. If it finds something to do, it wakes the next one."""
        with self._work:
            self._work.notify()

    def show(self) -> None:
        """Set the metrics."""
        with self._parts.signal.lock:
            self._metrics.show(self._parts.runs().undelivered, self._parts.slots(), self._server_now())

    def clear(self) -> None:
        """Remove the metrics, because this dispatcher no longer leads."""
        self._metrics.clear()

    def stop(self) -> None:
        """Ask each thread to end after its current delivery; returns at once."""
        with self._work:
            self._stopped = True
            self._work.notify_all()

    def _run(self) -> None:
        while (delivery := self._take()) is not None:
            try:
                self._deliver(delivery)
            except ClusterError as error:
                self._failed(delivery, error)
            except Exception:
                log.exception("the notification of run %s failed", delivery.run.name)
                with self._work:
                    self._deliveries.not_written(delivery, self._parts.clock(), refused=True)

    def _take(self) -> Delivery | None:
        """Wait for something to do; `None`: the thread must end."""
        parts = self._parts
        with self._work:
            while not self._stopped:
                if parts.may_write():
                    runs = parts.runs().undelivered
                    self._deliveries.forget(runs)
                    delivery = self._deliveries.choose(runs, parts.find_definition, parts.clock(), self._server_now())
                    if delivery is not None:
                        self._work.notify()
                        return delivery
                self._work.wait()
        return None

    def _deliver(self, delivery: Delivery) -> None:
        """Do what was chosen for a run.

        Raises:
            ClusterError: a call to the API server failed.
        """
        to_send = delivery.notify
        for _ in range(_WRITES):
            try:
                job = self._parts.client.get_job(delivery.run.name)
            except NotFoundError:
                self._settled(delivery)
                return
            run = read_run(job) if is_run(job) and job["metadata"]["uid"] == delivery.run.uid else None
            if run is None or run.end is None or not run.end.undelivered:
                self._settled(delivery)
                return
            if to_send is not None:
                if not self._parts.may_write():
                    with self._work:
                        self._deliveries.put_back(delivery)
                    return
                view = self._parts.describe(job)
                request = build_event_request(run, view, self._parts.client.name, to_send.format)
                try:
                    self._parts.sender.send(to_send, request)
                except DeliveryError as error:
                    self._not_sent(delivery, to_send.receiver, error)
                    return
                self._sent(delivery, to_send.receiver)
                to_send = None
            try:
                written = self._parts.client.patch_job(run.name, build_notification(job, delivery.state))
            except ConflictError:
                continue
            except NotFoundError:
                self._settled(delivery)
                return
            self._written(delivery, written)
            return
        with self._work:
            self._deliveries.not_written(delivery, self._parts.clock(), refused=True)

    def _sent(self, delivery: Delivery, receiver: str) -> None:
        self._count(delivery.run, "delivered")
        with self._work:
            self._deliveries.sent(delivery)
            if (outage := self._outages.pop(receiver, None)) is not None:
                outage.recovered()
            self._work.notify()  # the receiver is free

    def _not_sent(self, delivery: Delivery, receiver: str, error: DeliveryError) -> None:
        self._count(delivery.run, "failed")
        with self._work:
            self._deliveries.not_sent(delivery, error.status, error.retry_after_seconds, self._parts.clock())
            outage = self._outages.get(receiver)
            if outage is None:
                what = f"notifications can't be delivered to {receiver}"
                outage = self._outages[receiver] = OutageLogger(log, what, self._parts.clock)
            outage.failed(error)

    def _written(self, delivery: Delivery, job: Json) -> None:
        if read_notification(job) is Notification.UNDELIVERED:
            log.warning("run %s can't be marked: a webhook of the cluster has undone the change", delivery.run.name)
            with self._work:
                self._deliveries.not_written(delivery, self._parts.clock(), refused=True)
            return
        self._settled(delivery)
        if delivery.state is not Notification.DELIVERED:
            self._count(delivery.run, _COUNTED[delivery.state])
        if delivery.state is Notification.GIVEN_UP:
            log.warning("the notification of run %s is given up: %s", delivery.run.name, delivery.why)
            self._parts.tell_given_up(delivery.run, delivery.why)

    def _settled(self, delivery: Delivery) -> None:
        """Record that nothing is left to be done for a run."""
        with self._work:
            self._api_outage.recovered()
            self._deliveries.written(delivery.run.uid)
            self._parts.runs().undelivered.discard(delivery.run.uid)
            self._work.notify()

    def _failed(self, delivery: Delivery, error: ClusterError) -> None:
        missing_right = isinstance(error, ForbiddenError) and not isinstance(error, DeniedError)
        refused = not (error.retryable or error.outcome_unknown or missing_right)
        with self._work:
            if refused:
                log.warning("run %s can't be marked: %s", delivery.run.name, error)
            else:
                self._api_outage.failed(error)
            self._deliveries.not_written(
                delivery, self._parts.clock(), refused=refused, at_least=error.retry_after_seconds or 0
            )

    def _count(self, run: Run, outcome: str) -> None:
        definition = run.definition if run.definition in self._parts.slots() else metrics.UNKNOWN
        metrics.NOTIFICATIONS.labels(definition, outcome).inc()

    def _server_now(self) -> float:
        return self._parts.client.transport.clock.now()
