"""What a run says that was handed to Kueue and does not run."""

from typing import Any

import pytest

from app.kube import labels
from app.runs.kueue_status import explain_workload
from app.runs.run_status import build_view
from schemas.run import Status
from tests.unit.runs.test_run_status import make_job


def workload_of(*conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    """A Workload with these conditions: type, status, reason and message."""
    fields = ("type", "status", "reason", "message")
    return {"metadata": {}, "status": {"conditions": [dict(zip(fields, one, strict=True)) for one in conditions]}}


NO_QUOTA = ("QuotaReserved", "False", "Pending", "insufficient unused quota for cpu")
RESERVED = ("QuotaReserved", "True", "QuotaReserved", "")
PREEMPTED = ("Evicted", "True", "Preempted", "by a Workload of a higher priority")


@pytest.mark.parametrize(
    ("conditions", "reason", "words"),
    [
        ((), "WaitingForKueue", ["team-a"]),
        ((NO_QUOTA,), "WaitingForQuota", ["team-a", "insufficient unused quota for cpu"]),
        ((RESERVED,), "WaitingForAdmissionChecks", ["team-a", "checks"]),
        ((RESERVED, ("Admitted", "True", "Admitted", "")), "Starting", ["team-a", "has admitted it"]),
        ((NO_QUOTA, PREEMPTED), "Preempted", ["stopped it", "by a Workload of a higher priority"]),
        ((NO_QUOTA, ("Evicted", "True", "PodsReadyTimeout", "")), "Evicted", ["stopped it", "PodsReadyTimeout"]),
        ((NO_QUOTA, ("Evicted", "False", "Preempted", "")), "WaitingForQuota", ["insufficient unused quota for cpu"]),
        ((("QuotaReserved", "False", "Pending", "x" * 100_000),), "WaitingForQuota", ["team-a"]),
    ],
)
def test_explain_workload__says_for_what_a_run_waits(
    conditions: tuple[tuple[str, str, str, str], ...], reason: str, words: list[str]
) -> None:
    found = explain_workload(workload_of(*conditions), "team-a")
    assert found.reason == reason
    assert [word for word in words if word not in found.message] == []
    assert len(found.message) < 5000


def test_build_view__of_a_run_that_waits_for_kueue_names_the_queue_even_if_nothing_is_known() -> None:
    own = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"}
    job = make_job(spec={"suspend": True}, labels={**own, labels.LOCAL_QUEUE_LABEL: "team-a"})
    view = build_view(job)
    assert (view.status, view.reason, view.position_in_queue) == (Status.PENDING, "WaitingForKueue", -1)
    assert "team-a" in view.message
