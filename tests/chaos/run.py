"""One run of the chaos suite, on a control plane of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.callers import Authorizer
from tests.chaos.etcd_watcher import Ledger
from tests.chaos.injector import Striker
from tests.chaos.invariants import tally
from tests.chaos.processes import Fleet
from tests.chaos.report import Report
from tests.chaos.schedule import SLOTS, Schedule
from tests.controlplane.plane import ControlPlane
from tests.support.servers import connect_to

_QUIET_SECONDS = 75.0
"""What has not ended when nothing else has for so long never will: the longest of all waits is that for a silent watch,
of 60 s."""

_LATE_SECONDS = 8.0
"""What is still on its way when all is over, such as a write that nobody waits for any more, has arrived by then."""

_TELL_SECONDS = 15.0


def run_chaos(schedule: Schedule, folder: Path, *, tell: Callable[[str], object] = print) -> Report:
    """Carry out a schedule.

    Args:
        schedule: what happens.
        folder: where logs and `report.json` go.
        tell: is told how far it is.

    Raises:
        ControlPlaneUnavailable: there is none to run it on.
        NoFakeClockError: no clock can be set off here.
    """
    began = time.monotonic()
    size = schedule.size
    with ControlPlane(keeps_history=True) as plane:
        server = connect_to(str(plane.admin_kubeconfig))
        namespace = server.create_namespace()
        with (
            Ledger(plane.etcd_url, namespace) as ledger,
            Fleet(
                server,
                namespace,
                folder,
                plane.reaper,
                workers=size.workers,
                clock_seconds=schedule.clock_seconds,
            ) as fleet,
        ):
            striker = Striker(schedule, plane, fleet, ledger, namespace)
            striker.make_deployments()
            with striker, Authorizer(fleet.urls, schedule.calls) as callers:
                all_ended = _watch(lambda: callers.done, ledger, size.runs, tell)
                strikes = striker.finish()
                if not all_ended:  # the controllers may have given up after an outage
                    plane.restart_controllers()
                    _watch(lambda: callers.done, ledger, size.runs, tell)
                told = callers.told
            time.sleep(_LATE_SECONDS)
            counts = tally(ledger.versions, told, SLOTS)
            surprises, restarts = fleet.surprises(), fleet.restarts
    wrong = [f"{one.mark}: {answer}" for one in told for answer in one.wrong]
    report = Report(schedule, counts, strikes, surprises, wrong, time.monotonic() - began, restarts)
    (folder / "report.json").write_text(json.dumps(report.document(), indent=1))
    return report


def _watch(accepted: Callable[[], int], ledger: Ledger, runs: int, tell: Callable[[str], object]) -> bool:
    """Wait until all calls are accepted and all runs have ended, or nothing ends any more; whether they have."""
    last, quiet_since, told_at = (-1, -1), time.monotonic(), 0.0
    while True:
        queued, active = ledger.in_flight()
        now = accepted(), ledger.finished()
        if now[0] >= runs and not queued and not active:
            return True
        if now != last:
            last, quiet_since = now, time.monotonic()
        if time.monotonic() - told_at > _TELL_SECONDS:
            tell(f"{now[0]} of {runs} accepted, {queued} queued, {active} active, {now[1]} ended")
            told_at = time.monotonic()
        if time.monotonic() - quiet_since > _QUIET_SECONDS:
            tell(f"nothing has ended for {_QUIET_SECONDS:.0f} s")
            return False
        ledger.wait(lambda: False, seconds=0.2)
