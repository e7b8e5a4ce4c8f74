"""When a dependency counts as ready."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.readiness import Readiness, assess, unready_dependencies
from app.domain.workload import Workload
from app.kube.parsing import read_workload


def make_workload(kind: str, **changes: Any) -> Workload:
    values: dict[str, Any] = {
        "kind": kind,
        "name": "db",
        "resource_version": 1,
        "current": True,
        "ready_replicas": 1,
        "wanted_replicas": 1,
        "available": True if kind == "Deployment" else None,
        "replicas_min": None,
    }
    return Workload(**{**values, **changes})


@pytest.mark.parametrize(
    ("kind", "changes", "ready"),
    [
        ("Deployment", {}, True),
        ("Deployment", {"ready_replicas": 2, "wanted_replicas": 3}, True),  # enough for maxUnavailable
        ("Deployment", {"available": False}, False),
        ("Deployment", {"available": None}, False),
        ("Deployment", {"ready_replicas": 0}, False),
        (
            "Deployment",
            {"ready_replicas": 0, "wanted_replicas": 0},
            False,
        ),  # a Deployment that is scaled to zero is Available
        ("Deployment", {"current": False}, False),
        ("StatefulSet", {}, True),
        ("StatefulSet", {"ready_replicas": 2, "wanted_replicas": 3}, False),
        ("StatefulSet", {"ready_replicas": 3, "wanted_replicas": 3}, True),
        ("StatefulSet", {"ready_replicas": 0, "wanted_replicas": 0}, False),
        ("StatefulSet", {"current": False}, False),
        ("Deployment", {"replicas_min": "2"}, False),
        ("Deployment", {"replicas_min": "2", "ready_replicas": 2, "available": False}, True),
        ("Deployment", {"replicas_min": "0", "ready_replicas": 0}, False),  # at least one, whatever the annotation says
        ("Deployment", {"replicas_min": "0"}, True),
        ("Deployment", {"replicas_min": "1", "current": False}, False),
        ("StatefulSet", {"replicas_min": "1", "wanted_replicas": 3}, True),
        ("StatefulSet", {"replicas_min": "1", "ready_replicas": 0}, False),
    ],
)
def test_assess__applies_the_annotation_else_availability_or_replicas(
    kind: str, changes: dict[str, Any], ready: bool
) -> None:
    """At least one replica must be ready, and only a current status counts."""
    assert assess("db", [make_workload(kind, **changes)]).ready is ready


@pytest.mark.parametrize("text", ["", " 1", "1 ", "-1", "+1", "1.5", "one", "1e3", "٣", "²", "9" * 5000])
def test_assess__is_never_ready_where_the_annotation_is_not_a_number(text: str) -> None:
    readiness = assess("db", [make_workload("Deployment", replicas_min=text, ready_replicas=10)])
    assert not readiness.ready
    assert "SlimFaas/ReplicasMin" in readiness.detail


def test_assess__is_not_ready_where_no_workload_exists() -> None:
    assert assess("db", []) == Readiness("db", ready=False, detail="not found")


def test_assess__needs_both_workloads_of_one_name_ready() -> None:
    deployment, stateful_set = make_workload("Deployment"), make_workload("StatefulSet", ready_replicas=0)
    assert assess("db", [deployment, make_workload("StatefulSet")]).ready
    assert not assess("db", [deployment, stateful_set]).ready
    assert assess("db", [deployment, stateful_set]).detail == "StatefulSet: 0 of 1 ready"


@given(
    st.sampled_from(["Deployment", "StatefulSet"]),
    st.booleans(),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([True, False, None]),
    st.none() | st.integers(0, 5).map(str) | st.text(max_size=3),
)
def test_assess__is_ready_only_with_a_current_status_and_a_ready_replica(
    kind: str, current: bool, ready: int, wanted: int, available: bool | None, replicas_min: str | None
) -> None:
    workload = make_workload(
        kind,
        current=current,
        ready_replicas=ready,
        wanted_replicas=wanted,
        available=available,
        replicas_min=replicas_min,
    )
    if assess("db", [workload]).ready:
        assert current
        assert ready >= 1


def test_unready_dependencies__returns_those_that_are_not_ready() -> None:
    ready, unready = assess("db", [make_workload("Deployment")]), assess("cache", [])
    assert unready_dependencies(("db", "cache"), {"db": ready, "cache": unready}) == [unready]
    assert unready_dependencies(("db",), {"db": ready}) == []
    assert unready_dependencies((), {}) == []


def test_unready_dependencies__counts_an_unreadable_list_as_unready() -> None:
    [unknown] = unready_dependencies(None, {})
    assert not unknown.ready
    assert "annotation" in unknown.detail


def test_unready_dependencies__are_those_that_are_not_ready_in_the_order_of_the_run() -> None:
    """Each is looked up by its name, and keeps it."""
    workloads = {"db": [make_workload("Deployment")], "cache": [], "queue": [make_workload("StatefulSet")]}
    names = ("none", "db", "cache", "queue")
    waits_for = unready_dependencies(names, {name: assess(name, workloads.get(name, [])) for name in names})
    assert [(one.name, one.ready) for one in waits_for] == [("none", False), ("cache", False)]


def test_assess__keeps_the_name_and_tells_the_counts_of_every_workload() -> None:
    """What a ready dependency is made of can be read, too."""
    both = [
        make_workload("Deployment", replicas_min="2", ready_replicas=3, wanted_replicas=4),
        make_workload("StatefulSet"),
    ]
    detail = "Deployment: 3 of 2 ready, StatefulSet: 1 of 1 ready"
    assert assess("db", both) == Readiness("db", ready=True, detail=detail)
    unready = make_workload("Deployment", ready_replicas=0, wanted_replicas=0)
    assert assess("db", [unready]) == Readiness("db", ready=False, detail="Deployment: 0 of 1 ready")


@pytest.mark.parametrize(("text", "number"), [("9" * 9, True), ("9" * 10, False)])
def test_assess__reads_an_annotation_of_up_to_nine_digits(text: str, number: bool) -> None:
    """No text of any length is made a number."""
    detail = assess("db", [make_workload("Deployment", replicas_min=text)]).detail
    assert ("is not a number" in detail) is not number


@pytest.mark.parametrize(
    ("metadata", "status", "current"),
    [
        ({"generation": 2}, {"observedGeneration": 2}, True),
        ({"generation": 2}, {"observedGeneration": 1}, False),
        ({"generation": 1}, {}, False),
        ({"generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"}, {"observedGeneration": 1}, False),
    ],
)
def test_read_workload__takes_a_status_of_an_older_spec_or_during_deletion_for_outdated(
    metadata: dict[str, Any], status: dict[str, Any], current: bool
) -> None:
    """The replicas that it counts may be about to go."""
    document = {"metadata": {"name": "db", "resourceVersion": "5", **metadata}, "spec": {}, "status": status}
    assert read_workload("Deployment", document).current is current
