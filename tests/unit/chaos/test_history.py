"""Parsing of the objects that etcd stores."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.kube import labels
from app.kube.manifests import build_job
from schemas.definition import Definition, Variable
from schemas.merge import merge
from schemas.request import Request
from tests.chaos.history import LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion, read_version

NAMESPACE = "test"


def read(kind: str, name: str, stored: dict[str, Any] | None) -> Version | None:
    value = None if stored is None else json.dumps(stored).encode()
    return read_version(f"/registry/{kind}/{NAMESPACE}/{name}", value, namespace=NAMESPACE, revision=7, seen_at=1.0)


QUEUED_AT = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)


def job(**status: Any) -> dict[str, Any]:
    """Return a Job as the service creates it."""
    request = Request(depends_on=("database",), environments=(Variable("CHAOS_CALL", "call-1", literal=True),))
    spec = merge(Definition(name="one", image="busybox:1"), request)
    made = build_job(spec, "aaaaaaaaaaaa", queued_at=QUEUED_AT, call="c", path="", query="")
    made["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T12:00:00Z"}
    return made | {"status": status}


def test_read_version__parses_a_job_of_the_service() -> None:
    seen = read("jobs", "one-slimfaas-job-aaaaaaaaaaaa", job())
    assert seen == RunVersion(
        revision=7,
        seen_at=1.0,
        name="one-slimfaas-job-aaaaaaaaaaaa",
        uid="u",
        definition="one",
        mark="call-1",
        depends_on=("database",),
        clock_off_seconds=300.0,
        suspended=True,
    )


@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_run_version__is_active_from_its_start_to_its_end(end: str) -> None:
    """A FailureTarget condition is no end; a deleted run is not active."""
    stored = job(conditions=[{"type": "FailureTarget", "status": "True"}])
    assert read("jobs", "x", stored).active is False  # type: ignore[union-attr]
    stored["spec"]["suspend"] = False
    assert read("jobs", "x", stored).active is True  # type: ignore[union-attr]
    stored["status"]["conditions"].append({"type": end, "status": "True"})
    ended = read("jobs", "x", stored)
    assert isinstance(ended, RunVersion)
    assert (ended.active, ended.end) == (False, end)
    gone = read("jobs", "x", None)
    assert isinstance(gone, RunVersion)
    assert (gone.active, gone.gone) == (False, True)


@pytest.mark.parametrize(("phase", "alive"), [("Pending", True), ("Running", True), ("Succeeded", False)])
def test_pod_version__is_alive_until_it_has_ended(phase: str, alive: bool) -> None:
    own_labels = {labels.JOB_NAME_LABEL: "run", labels.DEFINITION_LABEL: "one"}
    seen = read("pods", "p", {"metadata": {"labels": own_labels}, "status": {"phase": phase}})
    assert seen == PodVersion(revision=7, seen_at=1.0, name="p", run="run", definition="one", alive=alive)


@pytest.mark.parametrize(
    ("status", "metadata", "ready"),
    [
        ({}, {}, True),
        ({"observedGeneration": 1}, {}, False),
        ({"readyReplicas": 0}, {}, False),
        ({"conditions": [{"type": "Available", "status": "False"}]}, {}, False),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
    ],
)
def test_workload_version__is_ready_only_if_every_condition_holds(
    status: dict[str, Any], metadata: dict[str, Any], ready: bool
) -> None:
    """The status is of the current generation, it is available, a replica is ready, and it is not being deleted."""
    good = {"observedGeneration": 2, "readyReplicas": 1, "conditions": [{"type": "Available", "status": "True"}]}
    seen = read("deployments", "d", {"metadata": {"generation": 2} | metadata, "status": good | status})
    assert isinstance(seen, WorkloadVersion)
    assert seen.ready is ready


def test_read_version__ignores_other_leases_kinds_and_namespaces() -> None:
    annotations = {labels.INTENT_ANNOTATION: "intent"}
    lease = {"metadata": {"annotations": annotations}, "spec": {"holderIdentity": "a_1"}}
    assert read("leases", labels.LEASE_NAME, lease) == LeaseVersion(
        revision=7, seen_at=1.0, name=labels.LEASE_NAME, holder="a_1", intent="intent"
    )
    assert read("leases", "another", lease) is None
    assert read("events", labels.LEASE_NAME, lease) is None
    assert read_version("/registry/pods/other/p", None, namespace=NAMESPACE, revision=7, seen_at=1.0) is None
    assert read_version("/registry/health", b"x", namespace=NAMESPACE, revision=7, seen_at=1.0) is None
