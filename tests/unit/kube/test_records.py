"""What is read of a Job: its phase, its place and what it waits for, however odd it looks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.run import PendingStart, Phase
from app.kube import labels
from app.kube.parsing import phase_of, read_depends_on, read_run, read_time


def make_job(spec: dict[str, Any], status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    base = {
        "name": "fib-slimfaas-job-abcdefghijkl",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:01Z",
        "labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"},
    }
    job: dict[str, Any] = {"metadata": {**base, **metadata}, "spec": spec}
    return job if status is None else {**job, "status": status}


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status}]}


SUSPENDED: dict[str, Any] = {"suspend": True}
DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:02Z"}


@pytest.mark.parametrize(
    ("job", "phase"),
    [
        (make_job(SUSPENDED), Phase.QUEUED),
        (make_job(SUSPENDED, {}), Phase.QUEUED),
        (make_job(SUSPENDED, condition("Suspended")), Phase.QUEUED),
        (make_job(SUSPENDED, {"active": 0, "terminating": 0, **condition("Suspended")}), Phase.QUEUED),
        (make_job({"suspend": False}), Phase.ADMITTED),
        (make_job({}), Phase.ADMITTED),
        (make_job({"suspend": None}), Phase.ADMITTED),
        (make_job({"suspend": False}, condition("Suspended")), Phase.ADMITTED),
        (make_job({"suspend": False}, {"active": 1}), Phase.ADMITTED),
        # Suspended again by hand: its pods are still there, or may be.
        (make_job(SUSPENDED, {"active": 1}), Phase.ADMITTED),
        (make_job(SUSPENDED, {"terminating": 1, **condition("Suspended")}), Phase.ADMITTED),
        (make_job(SUSPENDED, condition("Suspended", "False")), Phase.ADMITTED),
        # On its way to an end, not there yet.
        (make_job({"suspend": False}, condition("SuccessCriteriaMet")), Phase.ADMITTED),
        (make_job({"suspend": False}, condition("FailureTarget")), Phase.ADMITTED),
        (make_job({"suspend": False}, condition("Complete", "False")), Phase.ADMITTED),
        (make_job({"suspend": False}, condition("Complete")), Phase.FINISHED),
        (make_job({"suspend": False}, condition("Failed")), Phase.FINISHED),
        (make_job(SUSPENDED, condition("Failed")), Phase.FINISHED),
        # Being deleted: a run that runs holds its slot, one that never started has no need of one.
        (make_job({"suspend": False}, {"active": 1}, **DELETED), Phase.ADMITTED),
        (make_job({"suspend": False}, **DELETED), Phase.ADMITTED),
        (make_job(SUSPENDED, **DELETED), Phase.FINISHED),
        (make_job(SUSPENDED, {"active": 1}, **DELETED), Phase.ADMITTED),
    ],
)
def test_phase_of__follows_suspend_conditions_and_pods(job: dict[str, Any], phase: Phase) -> None:
    """A slot is held from the admission until a terminal condition, or until pods are certainly gone."""
    assert phase_of(job) is phase


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_read_queued_at__falls_back_to_the_creation_time(text: str | None) -> None:
    """A run always has a place."""
    annotations = None if text is None else {labels.QUEUED_AT_ANNOTATION: text}
    assert read_run(make_job(SUSPENDED, annotations=annotations)).queued_at == 1_767_225_601_000_000


def test_read_queued_at__reads_microseconds() -> None:
    """Creation times have whole seconds, in which many calls find place."""
    annotations = {labels.QUEUED_AT_ANNOTATION: "2026-01-01T00:00:00.000001Z"}
    assert read_run(make_job(SUSPENDED, annotations=annotations)).queued_at == 1_767_225_600_000_001


@given(st.text(max_size=40))
def test_read_queued_at__never_fails(text: str) -> None:
    """Whatever is written there, it is a time or it is none."""
    assert isinstance(read_time(text), int | None)


@given(st.lists(st.text(max_size=10), max_size=5))
def test_read_depends_on__reads_a_list_of_names(names: list[str]) -> None:
    """In order, whatever their names."""
    assert read_depends_on(json.dumps(names)) == tuple(names)


@pytest.mark.parametrize("text", ["", "[", "null", "{}", '"db"', "[1]", "[null]", '[["db"]]', "[" * 100_000, "db"])
def test_read_depends_on__returns_none_for_anything_else(text: str) -> None:
    """Not the same as an empty list: such a run must not start."""
    assert read_depends_on(text) is None


def test_read_run__has_no_dependencies_without_the_annotation() -> None:
    """As kubectl's own users would expect of a Job that they label by hand."""
    assert read_run(make_job(SUSPENDED)).depends_on == ()


STARTED = {"startTime": "2026-01-01T00:00:09Z"}
IN_TIME = {labels.PENDING_TIMEOUT_ANNOTATION: "30"}
GIVEN_UP = {**IN_TIME, labels.GAVE_UP_ANNOTATION: "its image can't be pulled"}


@pytest.mark.parametrize(
    ("job", "awaited"),
    [
        (make_job({}, STARTED, annotations=IN_TIME), False),
        (make_job({}, {**STARTED, "ready": 0, "active": 1}, annotations=IN_TIME), False),
        (make_job({}, {**STARTED, "ready": 0, "failed": 1}, annotations=IN_TIME), True),
        (make_job({}, {**STARTED, "uncountedTerminatedPods": {"failed": ["u"]}}, annotations=IN_TIME), True),
        (make_job({}, {**STARTED, "ready": 1}, annotations=IN_TIME), None),
        (make_job({}, {}, annotations=IN_TIME), None),
        (make_job({}, STARTED), None),
        (make_job({}, STARTED, annotations={labels.PENDING_TIMEOUT_ANNOTATION: "soon"}), None),
        (make_job({}, STARTED, annotations={labels.PENDING_TIMEOUT_ANNOTATION: "9" * 11}), None),
        (make_job({}, STARTED, annotations=GIVEN_UP), None),
        (make_job({}, STARTED, annotations=IN_TIME, **DELETED), None),
        (make_job({}, {**STARTED, **condition("FailureTarget")}, annotations=IN_TIME), None),
        (make_job({}, {**STARTED, **condition("Complete")}, annotations=IN_TIME), None),
        (make_job(SUSPENDED, {**STARTED, "active": 1}, annotations=IN_TIME), None),
        (make_job(SUSPENDED, annotations=IN_TIME), None),
    ],
)
def test_read_run__has_a_pending_start_while_admitted_with_a_timeout(job: dict[str, Any], awaited: bool | None) -> None:
    """Not of one that has started, is on its way out, or was given up already."""
    read = read_run(job).pending_start
    assert read == (None if awaited is None else PendingStart(1_767_225_609_000_000, 30, has_failed=awaited))
