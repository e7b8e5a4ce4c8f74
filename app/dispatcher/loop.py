"""The dispatcher: stands for election, and while it leads keeps a view of the cluster and acts on it."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping

from app.common.heartbeat import Heartbeat
from app.dispatcher.admissions import Admissions
from app.dispatcher.election import Election
from app.dispatcher.events import LOOK_SECONDS, EventRecorder, PendingReasons
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.queue_metrics import QueueMetrics
from app.dispatcher.run_store import ChangeSignal
from app.dispatcher.start_deadline_enforcer import StartDeadlineEnforcer
from app.dispatcher.start_latency import StartLatency
from app.dispatcher.view import ClusterView
from app.dispatcher.writers import Writers
from app.domain.pending_reason import PendingReason
from app.domain.run import Run
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client import NamespacedClient
from app.kube.reflector import SILENCE_SECONDS
from app.telemetry import metrics

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
"""How often an idle loop looks whether there is something to do; that makes no call."""

_SYNC_SECONDS = 0.05
"""How often a leader checks whether its view is complete again."""

_ANSWER_SECONDS = 1.0
"""How long a dispatcher that stops waits for answers under way. What is not answered then stands in the Lease."""


def read_clock() -> float:
    """Return seconds that never go back. On Linux they also count while the machine sleeps, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Dispatcher:
    """Admits queued runs while it leads. One per process; any number of processes may have one.

    Its threads: `dispatcher` decides and keeps the Lease, the writers make the calls for runs, `events` writes Events,
    `start-deadlines` gives up what doesn't start, and while it leads each watch has one.

    Args:
        client: whose runs it admits.
        slots: how many runs of each definition may be active; asked for every decision.
        instance: the pod's or machine's name, from which `start` makes an identity unlike any other's.
        timing: of the Lease.
        clock: seconds that never go back.
        silence_seconds: see `Reflector`.
        heartbeat: by which it is told whether its threads make progress; `None`: one of its own.
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
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._client = client
        self._slots = slots
        self._instance = instance
        self._timing = timing or LeaseTiming()
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._heartbeat = heartbeat or Heartbeat()
        self._stop = threading.Event()
        self._signal = ChangeSignal()
        self._metrics = QueueMetrics(self._signal, clock)
        self._parts: _Parts | None = None
        self._threads: list[threading.Thread] = []

    # What others ask of it.

    @property
    def leading(self) -> bool:
        """Whether this is the dispatcher that admits."""
        return self._parts is not None and self._parts.election.is_leading()

    @property
    def stuck(self) -> bool:
        """Whether a thread of it has died, or makes no progress for longer than a call can last."""
        if self._parts is None or self._stop.is_set():
            return False
        threads = [*self._threads, *self._parts.writers.threads]
        return not (all(thread.is_alive() for thread in threads) and self._heartbeat.is_alive())

    def start(self) -> None:
        """Start to stand for election, and to dispatch when elected; returns at once."""
        # Named here and not before: workers that are forked from one process must not be taken for one another.
        self._parts = _Parts(self, f"{self._instance}_{secrets.token_hex(4)}")
        main = threading.Thread(target=self._run, args=(self._parts,), name="dispatcher", daemon=True)
        self._threads = [main, self._parts.recorder.thread, self._parts.enforcer.thread]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Have the slots asked for now: there may be others."""
        self._signal.notify()

    def begin_shutdown(self) -> None:
        """Stop admitting and give the Lease back; returns at once."""
        self._stop.set()
        self._signal.notify()

    def stop(self) -> None:
        """Shut down, and wait until that is done."""
        self.begin_shutdown()
        deadline = time.monotonic() + 4 * CALL_SECONDS
        for thread in [*self._threads, *(self._parts.writers.threads if self._parts else ())]:
            thread.join(max(0.0, deadline - time.monotonic()))

    # The loop.

    def _run(self, parts: "_Parts") -> None:
        while not self._stop.is_set():
            self._heartbeat.beat("dispatcher")
            try:
                if self._heartbeat.is_alive() and parts.election.stand():
                    self._lead(parts)
                else:
                    self._stop.wait(max(0.01, parts.election.seconds_until_due()))
            except Exception:
                # Whatever it was: queued runs must not wait for somebody to restart the process.
                log.exception("the dispatcher failed; it starts again")
                parts.election.resign()
                self._stop.wait(_IDLE_SECONDS)
        parts.stop()

    def _lead(self, parts: "_Parts") -> None:
        """Dispatch from a fresh view of the cluster, until the term is over or it is time to stop."""
        parts.writers.start()
        with self._signal.lock:
            runs = parts.admissions.open_view()

        def on_break() -> None:
            with self._signal.lock:
                if parts.admissions.runs is runs:  # a watch of an earlier view may end late
                    parts.admissions.lose_view()
                    self._signal.notify()

        view = ClusterView(self._client, self._signal, runs, self._silence_seconds, on_break)
        view.start()
        try:
            while parts.election.is_leading() and not self._stop.is_set():
                self._heartbeat.beat("dispatcher")
                self._dispatch(parts, view)
            if parts.election.is_leading():
                self._release(parts)
        finally:
            view.stop()
            parts.election.resign()
            parts.recorder.clear()
            parts.start_latency.clear()
            self._metrics.clear()

    def _dispatch(self, parts: "_Parts", view: ClusterView) -> None:
        """Do once what there is to do, and wait for more."""
        slots, admissions, election = self._slots(), parts.admissions, parts.election
        # 1. Find out whether the view is current. Asked under the lock, so that no break of a watch is overwritten.
        with metrics.CYCLE_SECONDS.time(), self._signal.lock:
            is_current = view.is_current()
            admissions.set_current(is_current)
            # 2. Does the Lease have to be written, for runs that can be admitted?
            wants_intent = admissions.wants_intent(slots)
        # 3. Choose these runs and write them into the Lease. The same write renews it.
        if (wants_intent and not election.is_backing_off()) or election.seconds_until_due() <= 0:
            if not self._heartbeat.is_alive():
                log.error("the dispatcher gives up leading: one of its threads is stuck")
                election.resign()
                return
            election.renew(slots)
        # 4. The writers take what stands there, one by one.
        parts.writers.wake()
        # 5. Record metrics, and Events for people.
        self._metrics.show(admissions.runs, slots, admissions.possibly_admitted())
        if is_current:
            parts.tell(view, slots)
        # 6. Wait until something changes, or is due.
        with self._signal.lock:
            seconds = min(admissions.seconds_until_due(), election.seconds_until_due(), _IDLE_SECONDS)
        self._signal.wait(min(seconds, _IDLE_SECONDS if is_current else _SYNC_SECONDS))

    def _release(self, parts: "_Parts") -> None:
        """Give the Lease back, with what may still be under way."""
        with self._signal.lock:
            parts.admissions.set_current(False)  # nothing more is sent
        deadline = time.monotonic() + _ANSWER_SECONDS
        while parts.admissions.has_writes_in_flight() and time.monotonic() < deadline:
            self._signal.wait(_SYNC_SECONDS)
        parts.election.release()


class _Parts:
    """What a dispatcher consists of once it has an identity."""

    def __init__(self, owner: Dispatcher, identity: str) -> None:
        client, signal, clock, heartbeat = owner._client, owner._signal, owner._clock, owner._heartbeat
        self._signal = signal
        self._clock = clock
        self._reasons = PendingReasons()
        self._looked_at = float("-inf")
        self.start_latency = StartLatency(clock)
        self.recorder = EventRecorder(client, identity, heartbeat, clock)
        self.admissions = Admissions(
            identity, signal, clock, client.transport.clock.now, self.start_latency, self._tell_one
        )
        self.election = Election(client, self.admissions, signal, owner._timing, clock)
        is_leading = self.election.is_leading
        self.writers = Writers(client, self.admissions, signal, owner._slots, is_leading, heartbeat)
        self.enforcer = StartDeadlineEnforcer(
            client,
            signal,
            lambda: self.admissions.runs,
            lambda: is_leading() and self.admissions.is_current,
            heartbeat,
            clock,
        )

    def tell(self, view: ClusterView, slots: Mapping[str, int]) -> None:
        """Have those runs told whose reason for waiting has changed and stayed."""
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        with self._signal.lock:
            news, _ = self._reasons.find_news(self.admissions.runs, slots, view.unready())
        self.recorder.record(news)

    def _tell_one(self, run: Run, reason: PendingReason, message: str) -> None:
        self.recorder.record([(run, reason, message)])

    def stop(self) -> None:
        """Have every thread end; returns at once."""
        self.writers.stop()
        self.recorder.stop()
        self.enforcer.stop()
