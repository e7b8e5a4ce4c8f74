"""The dispatcher: stands for election, and while it leads keeps a view of the cluster and acts on it."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.common.heartbeat import Heartbeat
from app.common.types import Json
from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.cluster_watches import ClusterWatches
from app.dispatcher.election import Election
from app.dispatcher.end_reporter import EndReporter
from app.dispatcher.enforcer import Leader
from app.dispatcher.events import LOOK_SECONDS, EventRecorder, PendingReasons
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.queue_metrics import QueueMetrics
from app.dispatcher.queue_timeout_enforcer import QueueTimeoutEnforcer
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.run_store import RunStore
from app.dispatcher.start_deadline_enforcer import StartDeadlineEnforcer
from app.dispatcher.start_latency import StartLatency
from app.dispatcher.writers import Writers
from app.domain.pending_reason import PendingReason
from app.domain.run import Run
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client import NamespacedClient
from app.kube.reflector import SILENCE_SECONDS
from app.kube.shared_watch import SharedWatch
from app.telemetry import metrics
from schemas.definition import Definition

if TYPE_CHECKING:
    from app.dispatcher.notifier import Notifier
    from app.notifications.sender import NotificationSender

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
"""How often an idle loop checks whether there is something to do. This makes no call."""

_SYNC_SECONDS = 0.05
"""How often a leader checks whether its view is complete again."""

_ANSWER_SECONDS = 1.0
"""How long a dispatcher that stops waits for answers to its writes. Writes without an answer are kept in the intent."""


def read_clock() -> float:
    """Return seconds that never go back. On Linux they also count while the machine sleeps, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Dispatcher:
    """Admits queued runs while it leads. One per process; any number of processes may have one.

    Its threads: `dispatcher` decides and renews the Lease. The writers make the calls for runs. `events` writes Events.
    `start-deadlines` ends runs that don't start, and `queue-timeouts` ends runs that are queued for too long.
    `run-ends` logs how runs ended. While it leads, each watch has a thread, too. From the first notification on, there
    are the threads of `Notifier`.

    Args:
        client: the client of the namespace whose runs are admitted.
        slots: returns how many runs of each definition may be active; called for every decision.
        instance: the name of the pod or machine, from which `start` makes a unique identity.
        timing: the times of the Lease.
        clock: seconds that never go back.
        silence_seconds: see `Reflector`.
        runs_watch: the watch of runs, which may have other followers; `None`: the dispatcher opens its own.
        heartbeat: records whether its threads make progress; `None`: the dispatcher makes its own.
        start_error_seconds: see `StartDeadlineEnforcer`.
        notifications: how notifications are delivered; `None`: none are.

    Attributes:
        refused_schedules: returns the CronJobs of the schedules whose runs must not be admitted; see
            `RunStore.refuse_schedules`. Called for every decision.
    """

    def __init__(
        self,
        client: NamespacedClient,
        slots: Callable[[], Mapping[str, int]],
        *,
        instance: str,
        timing: LeaseTiming | None = None,
        clock: Callable[[], float] = read_clock,
        silence_seconds: float = SILENCE_SECONDS,
        runs_watch: SharedWatch | None = None,
        heartbeat: Heartbeat | None = None,
        start_error_seconds: int | None = None,
        notifications: "NotificationOptions | None" = None,
    ) -> None:
        self.refused_schedules: Callable[[], Collection[str] | None] = frozenset
        self._client = client
        self._slots = slots
        self._instance = instance
        self._timing = timing or LeaseTiming()
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._runs_watch = runs_watch or SharedWatch(client, client.runs, name="runs", silence_seconds=silence_seconds)
        self._heartbeat = heartbeat or Heartbeat()
        self._start_error_seconds = start_error_seconds
        self._notifications = notifications
        self._stop = threading.Event()
        self._signal = ChangeSignal()
        self._metrics = QueueMetrics(self._signal, clock)
        self._components: _Components | None = None
        self._threads: list[threading.Thread] = []

    # The interface for other modules.

    @property
    def leading(self) -> bool:
        """Whether this dispatcher is the leader."""
        return self._components is not None and self._components.election.is_leading()

    @property
    def stuck(self) -> bool:
        """Whether one of its threads has died, or has made no progress for longer than a call can last."""
        if self._components is None or self._stop.is_set():
            return False
        threads = [*self._threads, *self._components.writers.threads, *self._components.notifier_threads()]
        return not (all(thread.is_alive() for thread in threads) and self._heartbeat.is_alive())

    @property
    def ignored_gates(self) -> int:
        """How many runs Kueue has started before they were admitted, as far as this dispatcher has seen."""
        return 0 if self._components is None else self._components.admissions.ignored_gates.count

    def start(self) -> None:
        """Start to stand for election, and to dispatch when elected; returns at once."""
        # The identity is made here and not earlier: workers that are forked from one process need different ones.
        self._components = _Components(self, f"{self._instance}_{secrets.token_hex(4)}")
        main = threading.Thread(target=self._run, args=(self._components,), name="dispatcher", daemon=True)
        for thread in (
            main,
            self._components.recorder.thread,
            self._components.start_deadlines.thread,
            self._components.queue_timeouts.thread,
            self._components.end_reporter.thread,
        ):
            thread.start()
            self._threads.append(thread)  # only now: a thread that is not alive counts as stuck

    def wake(self) -> None:
        """Make the dispatcher read the slots now, because they may have changed."""
        self._signal.notify()

    def begin_shutdown(self) -> None:
        """Stop admitting and release the Lease; returns at once."""
        self._stop.set()
        self._signal.notify()

    def stop(self) -> None:
        """Shut down, and wait until all threads have ended."""
        self.begin_shutdown()
        deadline = time.monotonic() + 4 * CALL_SECONDS
        parts = self._components
        for thread in [*self._threads, *([*parts.writers.threads, *parts.notifier_threads()] if parts else ())]:
            thread.join(max(0.0, deadline - time.monotonic()))

    # The loop.

    def _run(self, components: "_Components") -> None:
        while not self._stop.is_set():
            self._heartbeat.beat("dispatcher")
            try:
                if self._heartbeat.is_alive() and components.election.stand():
                    self._lead(components)
                else:
                    self._stop.wait(max(0.01, components.election.seconds_until_due()))
            except Exception:
                # Also after an unexpected error, queued runs must not wait for somebody to restart the process.
                log.exception("the dispatcher failed; it starts again")
                components.election.resign()
                self._stop.wait(_IDLE_SECONDS)
        components.stop()

    def _lead(self, components: "_Components") -> None:
        """Dispatch with a new view of the cluster, until the term ends or the dispatcher stops."""
        components.writers.start()
        with self._signal.lock:
            runs = components.admissions.reset_view()
            components.ends.begin_term(components.election.predecessor_renewed_at)

        def on_break() -> None:
            with self._signal.lock:
                if components.admissions.runs is runs:  # a watch of an earlier view may end late
                    components.admissions.lose_view()
                    self._signal.notify()

        watches = ClusterWatches(self._client, self._signal, runs, self._runs_watch, self._silence_seconds, on_break)
        watches.start()
        try:
            while components.election.is_leading() and not self._stop.is_set():
                self._heartbeat.beat("dispatcher")
                self._dispatch(components, watches)
            if components.election.is_leading():
                self._release(components)
        finally:
            watches.stop()
            components.election.resign()
            components.recorder.clear()
            components.start_latency.clear()
            components.clear_notifications()
            self._metrics.clear()

    def _dispatch(self, components: "_Components", watches: ClusterWatches) -> None:
        """Run one cycle, then wait for the next change."""
        slots, admissions, election = components.read_slots(), components.admissions, components.election
        # 1. Find out whether the view is current. Asked under the lock, so that no break of a watch is overwritten.
        with metrics.CYCLE_SECONDS.time(), self._signal.lock:
            is_current = watches.is_current()
            admissions.set_current(is_current)
            if is_current:
                components.ends.pass_time()
            admissions.refresh_term()
            # 2. Find out whether the Lease must be written, because runs can be admitted that are not in the intent.
            wants_intent = admissions.wants_intent(slots)
        # 3. Choose these runs (`next_admission.choose_batch`, called by `Leadership.prepare_renewal`) and write them
        # into the Lease. That renews the Lease, too.
        if (wants_intent and not election.is_backing_off()) or election.seconds_until_due() <= 0:
            if not self._heartbeat.is_alive():
                log.error("the dispatcher gives up leading: one of its threads is stuck")
                election.resign()
                return
            election.renew(slots)
            if not election.is_leading():
                return
        # 4. Let the writers admit the runs that are in the intent, one by one.
        with self._signal.lock:
            admissions.give_up_slow_writes(slots)
        components.writers.wake()
        # 5. Record metrics, and Events for people.
        self._metrics.show(admissions.runs, slots, admissions.in_doubt())
        if is_current:
            components.tell(watches, slots)
            components.deliver_ends()
        # 6. Wait until something changes, or is due.
        with self._signal.lock:
            seconds = min(admissions.seconds_until_due(), election.seconds_until_due())
        self._signal.wait(min(seconds, _IDLE_SECONDS if is_current else _SYNC_SECONDS))

    def _release(self, components: "_Components") -> None:
        """Release the Lease, with the admissions that may still arrive."""
        with self._signal.lock:
            components.admissions.set_current(False)  # nothing more is sent
        deadline = time.monotonic() + _ANSWER_SECONDS
        while components.admissions.has_writes_in_flight() and time.monotonic() < deadline:
            self._signal.wait(_SYNC_SECONDS)
        components.election.release()


@dataclass(frozen=True, slots=True)
class NotificationOptions:
    """How notifications are delivered.

    Attributes:
        find_definition: returns the definition of a name; `None`: there is none, or none yet.
        describe: returns a run, given its Job, as `GET` shows it.
        make_sender: makes what sends; called before the first notification.
    """

    find_definition: Callable[[str], Definition | None]
    describe: Callable[[Json], Json]
    make_sender: "Callable[[], NotificationSender]"


class _Components:
    """The parts of a dispatcher that need its identity."""

    def __init__(self, owner: Dispatcher, identity: str) -> None:
        client, signal, clock, heartbeat = owner._client, owner._signal, owner._clock, owner._heartbeat
        self._signal = signal
        self._clock = clock
        self._reasons = PendingReasons()
        self._looked_at = float("-inf")
        self.start_latency = StartLatency(clock)
        self.end_reporter = EndReporter(client, owner._slots, heartbeat)
        self.ends = RunEnds(client.transport.clock.now, self.end_reporter.report)
        self.recorder = EventRecorder(client, identity, heartbeat, clock)
        self.admissions = Admissions(
            identity, signal, clock, client.transport.clock.now, self.start_latency, self.ends, self._tell_one
        )
        self.election = Election(client, self.admissions, signal, owner._timing, clock)
        is_leading = self.election.is_leading

        def runs() -> RunStore:
            return self.admissions.runs

        def may_write() -> bool:
            return is_leading() and self.admissions.is_current

        self._owner = owner
        self.writers = Writers(client, self.admissions, signal, self.read_slots, is_leading, heartbeat)
        leader = Leader(client, signal, runs, may_write, heartbeat, clock)
        self.start_deadlines = StartDeadlineEnforcer(leader, owner._slots, owner._start_error_seconds)
        self.queue_timeouts = QueueTimeoutEnforcer(leader, owner._slots, self._tell_one)
        self._leader, self._slots, self._notifications = leader, owner._slots, owner._notifications
        self._notifier: Notifier | None = None

    def read_slots(self) -> Mapping[str, int]:
        """Return the slots, and leave out of what can be chosen the runs of schedules that are refused.

        The slots are read first: if other definitions come into force in between, those of schedules are left out.
        """
        with self._signal.lock:
            slots = self._owner._slots()
            self.admissions.runs.refuse_schedules(self._owner.refused_schedules())
            return slots

    def tell(self, watches: ClusterWatches, slots: Mapping[str, int]) -> None:
        """Write Events on the runs whose reason for waiting has changed and has stayed the same for a moment."""
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        with self._signal.lock:
            events, _ = self._reasons.find_events(self.admissions.runs, slots, watches.unready())
        self.recorder.record(events)

    def deliver_ends(self) -> None:
        """Have the ends of runs delivered that are to be told. Nothing of it is loaded before there is one."""
        if self._notifier is None:
            if self._notifications is None or not self.admissions.runs.undelivered.groups:
                return
            self._notifier = self._make_notifier(self._notifications)
        self._notifier.show()
        if self.admissions.runs.undelivered.groups:
            self._notifier.wake()

    def _make_notifier(self, options: NotificationOptions) -> "Notifier":
        from app.dispatcher.notifier import Notifier, NotifierParts  # few installations need it

        parts = NotifierParts(
            client=self._leader.client,
            signal=self._signal,
            runs=self._leader.runs,
            may_write=self._leader.may_write,
            slots=self._slots,
            find_definition=options.find_definition,
            describe=options.describe,
            sender=options.make_sender(),
            tell_given_up=lambda run, why: self._tell_one(run, PendingReason.NOTIFICATION_GIVEN_UP, why),
            clock=self._clock,
        )
        return Notifier(parts)

    def clear_notifications(self) -> None:
        """Remove the metrics of notifications, because this dispatcher no longer leads."""
        if self._notifier is not None:
            self._notifier.clear()

    def notifier_threads(self) -> "Sequence[threading.Thread]":
        """Return the threads that deliver notifications."""
        return () if self._notifier is None else self._notifier.threads

    def _tell_one(self, run: Run, reason: PendingReason, message: str) -> None:
        self.recorder.record([(run, reason, message)])

    def stop(self) -> None:
        """Ask every thread to end; returns at once."""
        self.writers.stop()
        self.recorder.stop()
        self.start_deadlines.stop()
        self.queue_timeouts.stop()
        self.end_reporter.stop()
        if self._notifier is not None:
            self._notifier.stop()
