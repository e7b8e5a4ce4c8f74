"""Run the chaos suite once, on its own control plane."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.callers import Callers
from tests.chaos.dependencies import Dependencies
from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.injector import FaultInjector
from tests.chaos.invariants import check_invariants
from tests.chaos.processes import ServiceProcesses
from tests.chaos.report import Report
from tests.chaos.schedule import SLOTS, Schedule
from tests.controlplane.plane import ControlPlane
from tests.support.servers import connect_to

_QUIET_SECONDS = 75.0
"""How long nothing may end before the rest counts as stuck. The longest delay in the service is 60 s, for a silent
watch."""

_LATE_SECONDS = 8.0
"""How long to wait at the end for late events, such as a write whose client has timed out."""

_PROGRESS_SECONDS = 15.0


def run_chaos(schedule: Schedule, folder: Path, *, tell: Callable[[str], object] = print) -> Report:
    """Run a schedule, and return its report.

    Args:
        schedule: the calls and faults.
        folder: the folder for logs and `report.json`.
        tell: receives progress messages.

    Raises:
        ControlPlaneUnavailable: no control plane can be built or started.
        NoFakeClockError: clocks cannot be shifted here.
    """
    began = time.monotonic()
    size = schedule.size
    with ControlPlane(keeps_history=True) as plane:
        server = connect_to(str(plane.admin_kubeconfig))
        namespace = server.create_namespace()
        with (
            EtcdWatcher(plane.etcd_url, namespace) as watcher,
            ServiceProcesses(
                server,
                namespace,
                folder,
                plane.reaper,
                workers=size.workers,
                clock_seconds=schedule.clock_seconds,
            ) as processes,
        ):
            dependencies = Dependencies(plane, watcher, namespace, size.gates)
            dependencies.make()
            injector = FaultInjector(schedule, plane, processes, watcher, dependencies, namespace)
            with injector, Callers(processes.urls, schedule.calls) as callers:
                all_ended = _watch(lambda: callers.done, watcher, size.runs, tell)
                injected = injector.finish()
                if not all_ended:  # the controllers may have stopped after an outage
                    plane.restart_controllers()
                _watch(lambda: callers.done, watcher, size.runs, tell)  # a late restore may have undone ends
                records = callers.records
            time.sleep(_LATE_SECONDS)
            counts = check_invariants(watcher.branches, records, SLOTS)
            unexpected, restarts = processes.unexpected(), processes.restarts
    wrong = [f"{one.mark}: {answer}" for one in records for answer in one.wrong]
    report = Report(schedule, counts, injected, unexpected, wrong, time.monotonic() - began, restarts)
    (folder / "report.json").write_text(json.dumps(report.document(), indent=1))
    return report


def _watch(accepted: Callable[[], int], watcher: EtcdWatcher, runs: int, tell: Callable[[str], object]) -> bool:
    """Wait until all calls are accepted and all runs have ended; return False when nothing ends any more."""
    last, quiet_since, told_at = (-1, -1), time.monotonic(), 0.0
    while True:
        queued, active = watcher.in_flight()
        now = accepted(), watcher.finished()
        if now[0] >= runs and not queued and not active:
            return True
        if now != last:
            last, quiet_since = now, time.monotonic()
        if time.monotonic() - told_at > _PROGRESS_SECONDS:
            tell(f"{now[0]} of {runs} accepted, {queued} queued, {active} active, {now[1]} ended")
            told_at = time.monotonic()
        if time.monotonic() - quiet_since > _QUIET_SECONDS:
            tell(f"no run has ended for {_QUIET_SECONDS:.0f} s")
            return False
        watcher.wait(lambda: False, seconds=0.2)
