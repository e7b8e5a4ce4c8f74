"""The short form of `make chaos-notifications`."""

import pytest

from tests.chaos.notifications import SHORT, play
from tests.integration.dispatching import ClusterFixture


@pytest.mark.slow
def test_chaos__every_end_is_told_although_receivers_fail_and_leaders_die(cluster: ClusterFixture) -> None:
    report = play(cluster, seed=1, size=SHORT)
    assert report.failures() == []
    assert report.ends == SHORT.ends
    assert report.requests > report.ends
