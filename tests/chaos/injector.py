"""Inject a schedule's faults, and record what each one hit."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.chaos.dependencies import Dependencies
from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.freezes import Freeze
from tests.chaos.kinds import IN_TURN, KILLS, LEASE_EDITS, LINKS, OUTAGES, Kind
from tests.chaos.lease_edits import LeaseEditor
from tests.chaos.links import ONE_REQUEST, Links
from tests.chaos.outages import Outages
from tests.chaos.processes import Member, ServiceProcesses
from tests.chaos.schedule import FLAPPING, SWITCHED, PlannedFault, Schedule, gate_name
from tests.controlplane.plane import ControlPlane

_TARGET_TIMEOUT_SECONDS = 120.0
"""How long a fault waits for a target: a new leader exists only after the last one's lease has expired."""

_SETTLE_SECONDS = 20.0
"""How long a new leader has to settle what its predecessor may have sent."""

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class InjectedFault:
    """The outcome of one planned fault.

    Attributes:
        at_seconds: when it was injected, in seconds since the start.
        target: what it hit; empty if there was nothing to hit.
        queued: the number of queued runs at that time.
        active: the number of active runs at that time.
    """

    kind: Kind
    at_seconds: float
    target: str
    queued: int
    active: int

    @property
    def in_flight(self) -> bool:
        """Whether it could have harmed a run. A request that was hit always belongs to a run."""
        return bool(self.target) and (self.queued + self.active > 0 or self.kind in ONE_REQUEST)


class FaultInjector:
    """Injects a schedule's faults and ends each one in time. A context manager; entering it starts the schedule."""

    def __init__(
        self,
        schedule: Schedule,
        plane: ControlPlane,
        processes: ServiceProcesses,
        watcher: EtcdWatcher,
        dependencies: Dependencies,
        namespace: str,
    ) -> None:
        self._processes = processes
        self._watcher = watcher
        self._lease = LeaseEditor(plane, watcher, namespace)
        self._dependencies = dependencies
        self._gates = schedule.size.gates
        self._stop = threading.Event()
        self._began = 0.0
        self._lock = threading.Lock()
        self._injected: list[InjectedFault] = []
        self._failures: list[BaseException] = []
        self._links = Links(processes.members, self._stop)
        self._freezing = threading.Lock()
        self._outages = Outages(plane, watcher, self._links, dependencies, self._freezing, self._stop)
        self._threads = [
            threading.Thread(target=self._run, args=(faults,), name="fault-injector")
            for faults in _lanes(schedule.faults)
        ]

    def __enter__(self) -> FaultInjector:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._join()
        for member in self._processes.members:
            member.proxy.heal()

    def finish(self) -> list[InjectedFault]:
        """Wait until all faults are injected and ended; return their outcomes in the order of time.

        Raises:
            BaseException: a fault could not be injected or ended.
        """
        self._join()
        if self._failures:
            raise self._failures[0]
        return sorted(self._injected, key=lambda strike: strike.at_seconds)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._links.join()

    def _run(self, faults: Sequence[PlannedFault]) -> None:
        try:
            for fault in faults:
                self._stop.wait(self._began + fault.at_seconds - time.monotonic())
                if self._stop.is_set():
                    return
                self._inject(fault)
        except BaseException as error:
            self._failures.append(error)

    def _inject(self, fault: PlannedFault) -> None:
        if fault.kind in (Kind.FREEZE_LEADER, Kind.FREEZE_INTENT):
            with self._freezing:
                self._freeze(fault)
        elif fault.kind in ONE_REQUEST:
            with self._links.waiting_for_request(fault) as find_target:
                self._inject_when_possible(fault, find_target)
        elif fault.kind is Kind.HANG_ADMISSIONS:
            with self._links.hanging(fault.pick) as find_target:
                self._inject_when_possible(fault, find_target)
                self._stop.wait(fault.lasts_seconds)
        elif fault.kind is Kind.RESTORE_ETCD:
            with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
                snapshot = Path(folder) / "etcd"
                if self._inject_when_possible(
                    fault, lambda: self._outages.take_snapshot(snapshot) if self._leader() else None
                ):
                    self._outages.restore(snapshot, age_seconds=fault.lasts_seconds)
        elif fault.kind in OUTAGES:
            if self._inject_when_possible(fault, lambda: self._outages.begin(fault.kind)):
                self._stop.wait(fault.lasts_seconds)
                self._outages.end(fault.kind)
        else:
            self._inject_when_possible(fault, lambda: self._act_once(fault))

    def _act_once(self, fault: PlannedFault) -> str | None:
        """Inject a fault that needs no end; return its target, or `None` if there is none at the moment."""
        if fault.kind in KILLS:
            return self._processes.kill(fault.kind, fault.pick, self._watcher.holder)
        if fault.kind is Kind.STOP_REPLICA:
            return self._processes.stop(fault.pick)
        if fault.kind in LINKS:
            return self._links.break_all(fault, self._leader())
        if fault.kind in LEASE_EDITS:
            return self._lease.edit(fault.kind, fault.pick) if self._leader() else None
        return self._change_readiness(fault)

    def _inject_when_possible(self, fault: PlannedFault, act: Callable[[], str | None]) -> bool:
        """Act once there are runs in flight and a target, and record the outcome; return whether there was a target."""
        deadline = time.monotonic() + _TARGET_TIMEOUT_SECONDS
        target = None
        while True:
            (queued, active), at_seconds = self._watcher.in_flight(), time.monotonic() - self._began
            if queued + active or fault.kind in ONE_REQUEST:
                target = act()
            if target or time.monotonic() > deadline or self._stop.is_set():
                break
            time.sleep(_POLL_SECONDS)
        with self._lock:
            self._injected.append(InjectedFault(fault.kind, at_seconds, target or "", queued, active))
        return target is not None

    def _leader(self) -> Member | None:
        return self._processes.leader(self._watcher.holder)

    def _freeze(self, fault: PlannedFault) -> None:
        freeze = Freeze(self._watcher, self._processes)
        try:
            if fault.kind is Kind.FREEZE_LEADER:
                self._inject_when_possible(fault, lambda: self._freeze_leader(freeze))
            else:
                with freeze.after_intent(self._processes.members, fault.pick) as find_member:
                    self._inject_when_possible(fault, lambda: getattr(find_member(), "name", None))
                if (member := find_member()) is not None:
                    self._let_another_lead(freeze, member)
            self._stop.wait(fault.lasts_seconds)
        finally:
            freeze.end()
            self._dependencies.set_ready(SWITCHED, ready=True)

    def _let_another_lead(self, freeze: Freeze, member: Member) -> None:
        """Wait until another member leads, which sees that a dependency of what was sent is not ready any more.

        It gets some time to settle what the intent names. Then a late patch must not land.
        """
        self._dependencies.set_ready(SWITCHED, ready=False)
        self._wait_for(lambda: self._has_other_leader(member.name), _TARGET_TIMEOUT_SECONDS)
        self._wait_for(freeze.settled, _SETTLE_SECONDS)

    def _freeze_leader(self, freeze: Freeze) -> str | None:
        leader = self._leader()
        if leader is None:
            return None
        freeze.begin(leader)
        return leader.name

    def _has_other_leader(self, name: str) -> bool:
        holder = self._watcher.holder
        return any(holder.startswith(f"{member.name}_") for member in self._processes.members if member.name != name)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self._stop.wait(_POLL_SECONDS):
                return False
        return True

    def _change_readiness(self, fault: PlannedFault) -> str:
        name = gate_name(round(fault.pick * self._gates)) if fault.kind is Kind.BECOME_READY else FLAPPING
        self._dependencies.set_ready(name, ready=fault.kind is not Kind.BECOME_UNREADY)
        return name


def _lanes(faults: Sequence[PlannedFault]) -> list[list[PlannedFault]]:
    """Group the faults by thread: kinds that must not overlap share one, every other fault has its own."""
    in_turn = [kind for kinds in IN_TURN for kind in kinds]
    lanes = [[fault for fault in faults if fault.kind in kinds] for kinds in IN_TURN]
    return lanes + [[fault] for fault in faults if fault.kind not in in_turn]
