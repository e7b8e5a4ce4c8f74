"""Inject a schedule's faults, and record what each one hit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import requests

from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.kinds import IN_TURN, KILLS, LINKS, OUTAGES, Kind
from tests.chaos.links import ONE_REQUEST, Links
from tests.chaos.processes import ServiceProcesses
from tests.chaos.schedule import FLAPPING, PlannedFault, Schedule, gate_name
from tests.controlplane.plane import ControlPlane
from tests.support.service import Program

_TARGET_TIMEOUT_SECONDS = 40.0
"""How long a fault waits for a target: a new leader exists only after the last one's lease has expired."""

_POLL_SECONDS = 0.02
_RETRY_SECONDS = 0.5
_MERGE_PATCH = "application/merge-patch+json"


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
        namespace: str,
    ) -> None:
        self._plane = plane
        self._processes = processes
        self._watcher = watcher
        self._deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._gates = schedule.size.gates
        self._stop = threading.Event()
        self._began = 0.0
        self._lock = threading.Lock()
        self._injected: list[InjectedFault] = []
        self._failures: list[BaseException] = []
        self._links = Links(processes.members, self._stop)
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

    def make_deployments(self) -> None:
        """Create the Deployments that runs depend on: the gates, unready, and the flapping one, ready."""
        for name in (*map(gate_name, range(self._gates)), FLAPPING):
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
            }
            spec = {"replicas": int(name == FLAPPING), "selector": {"matchLabels": labels}, "template": template}
            self._plane.call("POST", self._deployments, {"metadata": {"name": name}, "spec": spec})
        assert self._watcher.wait(lambda: self._watcher.is_ready(FLAPPING), seconds=30.0)

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
        if fault.kind in KILLS:
            self._inject_when_possible(
                fault, lambda: self._processes.kill(fault.kind, fault.pick, self._watcher.holder)
            )
        elif fault.kind is Kind.STOP_REPLICA:
            self._inject_when_possible(fault, lambda: self._processes.stop(fault.pick))
        elif fault.kind is Kind.FREEZE_LEADER:
            self._freeze(fault)
        elif fault.kind in ONE_REQUEST:
            with self._links.waiting_for_request(fault) as find_target:
                self._inject_when_possible(fault, find_target)
        elif fault.kind in LINKS:
            self._inject_when_possible(
                fault, lambda: self._links.break_all(fault, self._processes.leader(self._watcher.holder))
            )
        elif fault.kind in OUTAGES:
            if self._inject_when_possible(fault, lambda: self._begin_outage(fault.kind)):
                self._stop.wait(fault.lasts_seconds)
                self._end_outage(fault.kind)
        else:
            self._inject_when_possible(fault, lambda: self._change_readiness(fault))

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

    def _freeze(self, fault: PlannedFault) -> None:
        frozen: list[Program] = []

        def freeze() -> str | None:
            leader = self._processes.freeze(self._watcher.holder)
            if leader is None:
                return None
            frozen.append(leader.program)
            return leader.name

        self._inject_when_possible(fault, freeze)
        self._stop.wait(fault.lasts_seconds)
        for program in frozen:
            program.send_signal(signal.SIGCONT, whole=True)  # the program may have been killed and restarted meanwhile

    def _begin_outage(self, kind: Kind) -> str:
        match kind:
            case Kind.STOP_API_SERVER:
                self._plane.api_server.stop()
            case Kind.KILL_API_SERVER:
                self._plane.api_server.kill()
            case _:
                self._plane.etcd.pause()
        return self._plane.etcd.name if kind is Kind.PAUSE_ETCD else self._plane.api_server.name

    def _end_outage(self, kind: Kind) -> None:
        if kind is Kind.PAUSE_ETCD:
            self._plane.etcd.resume()
        else:
            self._plane.api_server.start()
        self._retry(self._plane.restart_controllers)

    def _change_readiness(self, fault: PlannedFault) -> str:
        name = gate_name(round(fault.pick * self._gates)) if fault.kind is Kind.BECOME_READY else FLAPPING
        patch = {"spec": {"replicas": int(fault.kind is not Kind.BECOME_UNREADY)}}
        path = f"{self._deployments}/{name}"
        self._retry(lambda: self._plane.call("PATCH", path, patch, content_type=_MERGE_PATCH))
        return name

    def _retry(self, act: Callable[[], object]) -> None:
        """Repeat an idempotent action until it succeeds, because the API server may be down."""
        deadline = time.monotonic() + 60.0
        while True:
            try:
                act()
            except (requests.RequestException, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return


def _lanes(faults: Sequence[PlannedFault]) -> list[list[PlannedFault]]:
    """Group the faults by thread: kinds that must not overlap share one, every other fault has its own."""
    in_turn = [kind for kinds in IN_TURN for kind in kinds]
    lanes = [[fault for fault in faults if fault.kind in kinds] for kinds in IN_TURN]
    return lanes + [[fault] for fault in faults if fault.kind not in in_turn]
