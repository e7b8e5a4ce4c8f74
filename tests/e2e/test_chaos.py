"""The short form of `make chaos`: kills, cut connections and outages at once, and every promise kept."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clock import NoFakeClockError, set_clock_off
from tests.chaos.etcd_watcher import Ledger
from tests.chaos.history import LeaseVersion
from tests.chaos.run import run_chaos
from tests.chaos.schedule import SHORT, make_schedule
from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane

pytestmark = [
    pytest.mark.real_only("it keeps nothing when it is stopped"),
    pytest.mark.xdist_group("outages"),  # after those, not beside them
]

SEED = 1
"""The same faults in every run: what fails must be the change that is tested."""

_MOST_MISSES = 2

FOLDER = Path(__file__).resolve().parent.parent.parent / "build" / "chaos"
"""Where `make chaos` has its logs, too: what fails here has to be looked into."""


@pytest.fixture(autouse=True)
def _own_planes() -> None:
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("it kills API servers, and does that only where `make e2e` starts them itself")


def test_nothing_is_lost_doubled_or_started_too_early_through_faults_of_every_part() -> None:
    """Counted by a watcher that reads etcd itself; and nearly all faults hit something.

    On which call one strikes is the machine's to say: a few may find nothing under way at their moment. `make chaos`
    takes each of them for a failure.
    """
    try:
        set_clock_off(60)
    except NoFakeClockError as error:
        pytest.skip(str(error))
    folder = FOLDER / str(SEED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = run_chaos(make_schedule(SEED, SHORT), folder)
    print(report.table())
    assert report.broken() == []
    assert len(report.misses()) <= _MOST_MISSES


def test_the_watcher_sees_every_revision_whatever_is_killed() -> None:
    """What is stored before it looks, while its connection is gone, and after etcd and the API server came back."""
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = f"{leases}/slimfaas-jobs-dispatcher"

    def hold(holder: str) -> dict[str, Any]:
        return {"metadata": {"name": "slimfaas-jobs-dispatcher"}, "spec": {"holderIdentity": holder}}

    with ControlPlane(keeps_history=True) as plane:

        def patch(holder: str) -> None:
            plane.call("PATCH", lease, hold(holder), content_type="application/merge-patch+json")

        plane.call("POST", leases, hold("a"))
        patch("b")
        with Ledger(plane.etcd_url, "default") as ledger:
            assert ledger.wait(lambda: ledger.holder == "b", seconds=20)
            plane.etcd.kill()
            plane.api_server.kill()
            plane.etcd.start()
            plane.api_server.start()
            plane.wait_ready()
            patch("c")
            patch("d")
            plane.call("DELETE", lease)
            plane.call("POST", leases, hold("e"))
            assert ledger.wait(lambda: ledger.holder == "e", seconds=20)
            seen = [version for version in ledger.versions if isinstance(version, LeaseVersion)]
    assert [version.holder for version in seen] == ["a", "b", "c", "d", "", "e"]
    assert [version.gone for version in seen] == [False] * 4 + [True, False]
    assert sorted(version.revision for version in seen) == [version.revision for version in seen]
