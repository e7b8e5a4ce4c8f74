"""What a run says that was handed to Kueue and does not run."""

from typing import Any

import pytest

from app.kube import labels
from app.kube.parsing import read_run
from app.runs.kueue_status import explain_workload
from app.runs.run_status import build_view
from schemas.run import Status
from tests.unit.runs.test_run_status import make_job

OWN = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"}
IN_KUEUE = {**OWN, labels.LOCAL_QUEUE_LABEL: "team-a"}
GATED = {labels.GATE_ANNOTATION: labels.GATE}


def workload_of(*conditions: tuple[str, str, str, str]) -> dict[str, Any]:
    """A Workload with these conditions: type, status, reason and message."""
    fields = ("type", "status", "reason", "message")
    return {"metadata": {}, "status": {"conditions": [dict(zip(fields, one, strict=True)) for one in conditions]}}


NO_QUOTA = ("QuotaReserved", "False", "Pending", "insufficient unused quota for cpu")
RESERVED = ("QuotaReserved", "True", "QuotaReserved", "")
ADMITTED = ("Admitted", "True", "Admitted", "")
DEACTIVATED = ("Evicted", "True", "DeactivatedDueToX", "too often")
GONE = ("QuotaReserved", "False", "Inadmissible", "LocalQueue team-a doesn't exist")
PREEMPTED = ("Evicted", "True", "Preempted", "by a Workload of a higher priority")


@pytest.mark.parametrize(
    ("conditions", "reason", "words"),
    [
        ((), "WaitingForQuota", ["its turn", "team-a"]),
        ((NO_QUOTA,), "WaitingForQuota", ["team-a", "insufficient unused quota for cpu"]),
        ((RESERVED,), "WaitingForAdmissionChecks", ["team-a", "checks"]),
        ((RESERVED, ADMITTED), "Starting", ["team-a", "has admitted it"]),
        ((NO_QUOTA, PREEMPTED), "Preempted", ["team-a", "by a Workload of a higher priority"]),
        ((GONE, PREEMPTED), "Preempted", ["by a Workload of a higher priority", "LocalQueue team-a doesn't exist"]),
        ((NO_QUOTA, ("Evicted", "True", "PodsReadyTimeout", "")), "Evicted", ["evicted", "PodsReadyTimeout"]),
        ((NO_QUOTA, ("Evicted", "True", "LocalQueueStopped", "The LocalQueue is stopped")), "Evicted", ["is stopped"]),
        ((NO_QUOTA, DEACTIVATED), "Evicted", ["too often"]),  # its Workload is active again
        ((RESERVED, ADMITTED, ("Finished", "True", "FailedToStart", "conflict")), "GivenUpByKueue", ["conflict"]),
        ((GONE,), "Inadmissible", ["LocalQueue team-a doesn't exist"]),
        ((("QuotaReserved", "False", "Misconfigured", "no such queue"),), "Inadmissible", ["no such queue"]),
        ((("QuotaReserved", "False", "AdmissionGated", "gated by: a/b"),), "WaitingForKueue", ["gated by: a/b"]),
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
    job = make_job(spec={"suspend": True}, labels=IN_KUEUE)
    view = build_view(job)
    assert (view.status, view.reason, view.position_in_queue) == (Status.PENDING, "WaitingForKueue", -1)
    assert "team-a" in view.message


def test_explain_workload__deactivated__says_who_has_to_start_it() -> None:
    workload = {
        **workload_of(NO_QUOTA, DEACTIVATED),
        "spec": {"active": False},
    }
    found = explain_workload(workload, "team-a")
    assert found.reason == "Deactivated"
    assert "only if its Workload is activated" in found.message


def test_explain_workload__admission_checks__are_named() -> None:
    workload = workload_of(RESERVED)
    workload["status"]["admissionChecks"] = [
        {"name": "budget", "state": "Ready", "message": "fine"},
        {"name": "capacity", "state": "Pending", "message": "waits for a node group"},
    ]
    message = explain_workload(workload, "team-a").message
    assert "capacity" in message
    assert "waits for a node group" in message


def test_build_view__of_a_run_in_another_cluster_of_multikueue__runs() -> None:
    """Kueue copies the status of the remote Job. There is no pod here."""
    spec = {"suspend": False, "managedBy": "kueue.x-k8s.io/multikueue"}
    status = {"active": 1, "ready": 1, "startTime": "2026-01-01T00:00:00Z"}
    view = build_view(make_job(spec=spec, status=status, labels=IN_KUEUE))
    assert (view.status, view.reason) == (Status.RUNNING, "")
    assert "another cluster" in view.message


def test_read_run__start_deadline_of_a_run_in_another_cluster__is_not_enforced_here() -> None:
    """`activeDeadlineSeconds` of the local Job ends nothing: MultiKueue copies the spec once, and nobody runs this Job.

    The run would say for ever that it is being ended.
    """
    spec = {"suspend": False, "managedBy": "kueue.x-k8s.io/multikueue"}
    status = {"active": 1, "startTime": "2026-01-01T00:00:00Z"}
    annotations = {labels.PENDING_TIMEOUT_ANNOTATION: "60"}
    assert read_run(make_job(spec=spec, status=status, labels=IN_KUEUE, annotations=annotations)).pending_start is None


def test_read_run__queue_timeout_of_a_run_that_kueue_has_labelled__is_not_dropped_silently() -> None:
    """A definition has QueueTimeoutSeconds and no Queue; the namespace has a LocalQueue called `default`.

    Either the run ends in time, or something says that it doesn't.
    """
    annotations = {**GATED, labels.QUEUE_TIMEOUT_ANNOTATION: "60"}
    job = make_job(spec={"suspend": True}, labels={**OWN, labels.LOCAL_QUEUE_LABEL: "default"}, annotations=annotations)
    assert read_run(job).queue_timeout_seconds is None
    assert "its QueueTimeoutSeconds has no effect" in build_view(job).message
