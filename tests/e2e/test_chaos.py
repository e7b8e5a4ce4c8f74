"""The short form of `make chaos`: kills, cut connections and outages at once, and every promise kept."""

import os
from pathlib import Path

import pytest

from tests.chaos.fleet import NoFakeClockError, set_clock_off
from tests.chaos.run import run_chaos
from tests.chaos.schedule import SHORT, make_schedule
from tests.controlplane.plane import AUDIT_LOG_VARIABLE

pytestmark = [
    pytest.mark.real_only("it keeps nothing when it is stopped"),
    pytest.mark.xdist_group("outages"),  # after those, not beside them
]

SEED = 1
"""The same faults in every run: what fails must be the change that is tested."""


def test_nothing_is_lost_doubled_or_started_too_early_through_faults_of_every_part(tmp_path: Path) -> None:
    """Counted by a watcher that reads etcd itself; a fault that hit nothing is a failure, too."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("it kills API servers, and does that only where `make e2e` starts them itself")
    try:
        set_clock_off(60)
    except NoFakeClockError as error:
        pytest.skip(str(error))
    report = run_chaos(make_schedule(SEED, SHORT), tmp_path)
    print(report.table())
    assert report.failures() == []
