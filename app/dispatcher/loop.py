"""The dispatcher: stands for election, and while it leads keeps a view of the cluster and acts on it."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.dispatcher.admission import Admissions
from app.dispatcher.figures import Figures
from app.dispatcher.leader import Leader
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.news import NEWS_SECONDS, Newsroom
from app.dispatcher.patience import Patience
from app.dispatcher.pulse import Pulse
from app.dispatcher.stopwatch import Starts, Watched
from app.dispatcher.tables import Changes, ReadinessByName, RunTable, WorkloadTable
from app.domain.readiness import Unready, unready_dependencies
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run, read_workload
from app.kube.reflector import SILENCE_SECONDS, Reflector
from app.kube.transport import CALL_SECONDS
from app.telemetry import metrics

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
"""How often an idle loop looks whether it still leads; that makes no call."""

_ENDING_SECONDS = 2 * CALL_SECONDS
"""How long what is under way may take to end."""

_SYNC_SECONDS = 0.05
"""How often a leader looks whether its view is there, or there again."""


def read_clock() -> float:
    """Seconds that never go back, and where that can be had (Linux) go on while the machine sleeps, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Dispatcher:
    """Admits queued runs while it leads. One per process; any number of processes may have one.

    Args:
        client: whose runs it admits.
        slots: how many runs of each definition may be active; asked in every cycle.
        instance: the pod's or machine's name, from which `start` makes an identity unlike any other's.
        timing: of the lease.
        clock: seconds that never go back.
        silence_seconds: see `Reflector`.
        pulse: by which it is told whether it gets on; `None`: one of its own.
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
        pulse: Pulse | None = None,
    ) -> None:
        self._client = client
        self._instance = instance
        self._slots = slots
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._stop = threading.Event()
        self._changes = Changes()
        self._pulse = pulse or Pulse()
        self._leader = Leader(
            client,
            timing or LeaseTiming(),
            clock=clock,
            on_gain=self._changes.announce,
            on_try=partial(self._pulse.beat, "lease"),
            is_healthy=self._pulse.is_felt,
        )
        self._starts = Starts(clock)
        self._admissions = Admissions(client, self._changes, clock, self._starts)
        self._patience = Patience(client, self._changes, clock)
        self._figures = Figures(self._changes, clock)
        self._newsroom = Newsroom(client, clock)
        self._threads: list[threading.Thread] = []

    @property
    def leading(self) -> bool:
        """Whether this is the dispatcher that admits."""
        return self._leader.leading

    @property
    def stuck(self) -> bool:
        """Whether a thread of it has died, or gets nowhere for longer than a call can last; never before the start."""
        alive = all(thread.is_alive() for thread in self._threads)
        return bool(self._threads) and not self._stop.is_set() and not (alive and self._pulse.is_felt())

    def start(self) -> None:
        """Start to stand for election, and to dispatch when elected; returns at once."""
        # Named here and not before: workers that are forked from one process must not be taken for one another.
        identity = f"{self._instance}_{secrets.token_hex(4)}"
        self._newsroom.reporter = identity
        dispatching = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        standing = threading.Thread(target=self._stand, args=(identity, dispatching), name="lease", daemon=True)
        for thread in (dispatching, standing):
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Have the slots asked for now: there may be others."""
        self._changes.announce()

    def begin_shutdown(self) -> None:
        """Stop admitting, let a call under way end, and give the lease back; returns at once."""
        self._stop.set()
        self._changes.announce()

    def stop(self) -> None:
        """Retire, and wait until that is done."""
        self.begin_shutdown()
        deadline = time.monotonic() + 2 * _ENDING_SECONDS  # to end, and to give the lease back
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _stand(self, identity: str, dispatching: threading.Thread) -> None:
        """Stand for election; in the end give the lease back, once nothing more is admitted."""
        self._leader.hold(identity, self._stop)
        dispatching.join(_ENDING_SECONDS)
        # With an admission in doubt, perhaps an earlier leader's, the next one must not come before the end of the
        # lease, and must know that this one fell silent.
        in_doubt = self._admissions.in_doubt or self._leader.took_over
        if not in_doubt and not dispatching.is_alive():
            self._leader.release()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._pulse.beat("dispatcher")
            try:
                if self.leading:
                    self._lead()
                else:
                    self._changes.wait(_IDLE_SECONDS)
            except Exception:
                # Whatever it was: queued runs must not wait for somebody to restart the process.
                log.exception("the dispatcher failed; it starts again")
                self._stop.wait(_IDLE_SECONDS)

    def _lead(self) -> None:
        """Dispatch from a fresh view of the cluster, until the lease is lost or it is time to stop."""
        view = self._open_view()
        try:
            for reflector in view.reflectors:
                reflector.start()
            self._dispatch(view)
        finally:
            for reflector in view.reflectors:
                reflector.stop()
            self._figures.clear()

    def _open_view(self) -> "_View":
        term, client, silence = self._leader.term, self._client, self._silence_seconds
        runs = RunTable(self._changes)
        workloads = {kind: WorkloadTable(self._changes) for kind in client.workloads}
        watched = Watched(self._starts, runs)
        reflectors: list[Reflector[Any]] = [
            Reflector(client, client.runs, read_run, watched, name="runs", silence_seconds=silence)
        ]
        for kind, collection in client.workloads.items():
            read, table = partial(read_workload, kind), workloads[kind]
            reflectors.append(Reflector(client, collection, read, table, name=kind, silence_seconds=silence))
        return _View(term, runs, list(workloads.values()), reflectors)

    def _dispatch(self, view: "_View") -> None:
        def goes_on() -> bool:
            self._pulse.beat("dispatcher")
            # In a later term somebody else may have led since this view was opened.
            return self.leading and self._leader.term == view.term and not self._stop.is_set()

        def may_write() -> bool:
            return self._leader.may_write and goes_on() and view.is_kept_up()

        self._newsroom.open_term()
        news_due = self._clock() + NEWS_SECONDS
        stale = True  # whether something has changed since causes were last looked at
        while goes_on():
            if not view.is_kept_up():
                stale |= self._changes.wait(_SYNC_SECONDS)
                continue
            slots = self._slots()
            if self._leader.took_over:
                self._leader.took_over = False  # first: should it come true again meanwhile, that is another term's
                self._admissions.suspect(view.runs, slots)
            with metrics.CYCLE_SECONDS.time():
                wait_seconds = self._admissions.cycle(view.runs, view.unready(), slots, may_write)
                wait_seconds = min(wait_seconds, self._patience.cycle(view.runs, may_write))
            self._figures.show(view.runs, slots, self._admissions.doubts)
            if stale and self._clock() >= news_due:
                stale = self._newsroom.publish(self._changes, view.runs, view.unready(), slots, goes_on)
                news_due = self._clock() + NEWS_SECONDS
            stale |= self._changes.wait(min(wait_seconds, _IDLE_SECONDS))


@dataclass(frozen=True, slots=True)
class _View:
    """What a leader sees of the cluster.

    Attributes:
        term: the leader's, when it was opened.
    """

    term: int
    runs: RunTable
    workloads: list[WorkloadTable]
    reflectors: list[Reflector[Any]]

    def is_kept_up(self) -> bool:
        """Whether everything has been listed, and no watch is broken: nothing is admitted on old news."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    def unready(self) -> Unready:
        """What runs wait for as of now, each dependency judged once."""
        return partial(unready_dependencies, readiness=ReadinessByName(self.workloads))
