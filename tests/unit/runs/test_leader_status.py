"""Whether a dispatcher is at work, by its Lease and a clock that may differ from the holder's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.kube.manifests import format_time
from app.runs.leader_status import describe_leader_absence

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lease(*, seconds_ago: float = 0, **spec: Any) -> dict[str, Any]:
    renewed = format_time(NOW - timedelta(seconds=seconds_ago))
    return {"spec": {"holderIdentity": "pod-abc", "leaseDurationSeconds": 15, "renewTime": renewed, **spec}}


@pytest.mark.parametrize("seconds_ago", [-3600, -1, 0, 15, 75])
def test_describe_leader_absence__is_none_for_a_renewed_lease(seconds_ago: float) -> None:
    """Even if the holder's clock is ahead, or a minute behind."""
    assert describe_leader_absence(lease(seconds_ago=seconds_ago), NOW) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "there is no Lease slimfaas-jobs-dispatcher"),
        ({}, "nobody holds"),
        (lease(holderIdentity=""), "nobody holds"),
        (lease(holderIdentity=None), "nobody holds"),
        (lease(renewTime=None), "never renewed"),
        (lease(renewTime="soon"), "never renewed"),
        (lease(seconds_ago=77), "for 77 s"),
        (lease(seconds_ago=62, leaseDurationSeconds=None), "for 62 s"),
    ],
)
def test_describe_leader_absence__says_why_and_names_no_pod(found: dict[str, Any] | None, words: str) -> None:
    """The Lease is missing, released, incomplete, or out of date."""
    told = describe_leader_absence(found, NOW)
    assert told is not None
    assert words in told
    assert "pod-abc" not in told
