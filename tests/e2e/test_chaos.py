"""The short form of `make chaos`: kills, cut connections and outages at once, without a broken promise."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clock import NoFakeClockError, shift_clock
from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.history import LeaseVersion
from tests.chaos.run import run_chaos
from tests.chaos.schedule import SHORT, make_schedule
from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane
from tests.controlplane.snapshots import restore_snapshot, take_snapshot

pytestmark = [
    pytest.mark.real_only("the embedded cluster keeps no state when it is stopped"),
    pytest.mark.xdist_group("outages"),  # one after the other
]

SEED = 1
"""A fixed seed, so that a failure comes from the tested change."""

_MOST_MISSES = 2

FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "chaos"
"""The folder of `make chaos`; it keeps the logs of failures."""


@pytest.fixture(autouse=True)
def _own_planes() -> None:
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("kills API servers, so it runs only where `make e2e` starts them itself")


def test_service__keeps_every_promise_under_faults_of_every_part() -> None:
    """Nearly all faults must hit something.

    The timing depends on the machine, so a few faults may find no run in flight. `make chaos` counts each of them as a
    failure.
    """
    try:
        shift_clock(60)
    except NoFakeClockError as error:
        pytest.skip(str(error))
    folder = FOLDER / str(SEED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = run_chaos(make_schedule(SEED, SHORT), folder)
    print(report.table())
    assert report.broken() == []
    assert len(report.misses()) <= _MOST_MISSES


def test_etcd_watcher__sees_every_revision_across_restarts() -> None:
    """It sees revisions from before its start, while disconnected, and after the restart of etcd and the API server."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = f"{leases}/slimfaas-jobs-dispatcher"

    def hold(holder: str) -> dict[str, Any]:
        return {"metadata": {"name": "slimfaas-jobs-dispatcher"}, "spec": {"holderIdentity": holder}}

    with ControlPlane(keeps_history=True) as plane:

        def patch(holder: str) -> None:
            plane.call("PATCH", lease, hold(holder), content_type="application/merge-patch+json")

        plane.call("POST", leases, hold("a"))
        patch("b")
        with EtcdWatcher(plane.etcd_url, "default") as watcher:
            assert watcher.wait(lambda: watcher.holder == "b", seconds=20)
            plane.etcd.kill()
            plane.api_server.kill()
            plane.etcd.start()
            plane.api_server.start()
            plane.wait_ready()
            patch("c")
            patch("d")
            plane.call("DELETE", lease)
            plane.call("POST", leases, hold("e"))
            assert watcher.wait(lambda: watcher.holder == "e", seconds=20)
            seen = [version for version in watcher.versions if isinstance(version, LeaseVersion)]
    assert [version.holder for version in seen] == ["a", "b", "c", "d", "", "e"]
    assert [version.gone for version in seen] == [False] * 4 + [True, False]
    assert sorted(version.revision for version in seen) == [version.revision for version in seen]


def test_etcd_watcher__begins_a_branch_when_etcd_is_restored(tmp_path: Path) -> None:
    """It sees everything up to the loss, and everything after it, although revisions are used again."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = f"{leases}/slimfaas-jobs-dispatcher"

    with ControlPlane(keeps_history=True) as plane:

        def patch(holder: str) -> None:
            body = {"spec": {"holderIdentity": holder}}
            plane.call("PATCH", lease, body, content_type="application/merge-patch+json")

        with EtcdWatcher(plane.etcd_url, "default") as watcher:
            plane.call("POST", leases, {"metadata": {"name": "slimfaas-jobs-dispatcher"}, "spec": {}})
            patch("kept")
            take_snapshot(plane, tmp_path / "etcd")
            for number in range(5):
                patch(f"undone-{number}")
            restore_snapshot(
                plane,
                tmp_path / "etcd",
                before_loss=lambda revision: watcher.pause(revision, seconds=20),
                after_loss=watcher.rewind,
            )
            assert watcher.holder == "kept"
            patch("last")
            assert watcher.wait(lambda: watcher.holder == "last", seconds=20)
            undone, held = [
                [version.holder for version in branch.versions if isinstance(version, LeaseVersion)]
                for branch in watcher.branches
            ]
    assert undone == ["", "kept", *(f"undone-{number}" for number in range(5))]
    assert held == ["", "kept", "last"]
