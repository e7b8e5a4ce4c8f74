"""What is read of a Job: its phase, its place and what it waits for, however odd it looks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.readiness import assess
from app.domain.run import PendingStart, Phase
from app.domain.run_end import RunEnd
from app.kube import labels
from app.kube.parsing import phase_of, read_depends_on, read_run, read_time, read_workload
from schemas.dependencies import MAX_NAMES, MAX_NAMES_BYTES, count_bytes


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


def written_by(manager: str, *fields: str) -> dict[str, Any]:
    """Metadata that says who wrote these fields of the spec."""
    return {
        "managedFields": [
            {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {field: {} for field in fields}}}
        ]
    }


SUSPENDED: dict[str, Any] = {"suspend": True}
TIMED_OUT: dict[str, Any] = {"annotations": {labels.QUEUE_TIMED_OUT_ANNOTATION: "was queued for too long"}}
DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:02Z"}
OWN_LABELS = {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"}
IN_KUEUE: dict[str, Any] = {"labels": {**OWN_LABELS, labels.LOCAL_QUEUE_LABEL: "team-a"}}
GATED: dict[str, Any] = {"annotations": {labels.GATE_ANNOTATION: labels.GATE}}


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
        # Ended in the queue: no pod of it starts.
        (make_job({"suspend": False, "parallelism": 0}, **TIMED_OUT), Phase.FINISHED),
        (make_job({"suspend": False, "parallelism": 0}, condition("Suspended", "False"), **TIMED_OUT), Phase.FINISHED),
        (make_job({"suspend": False, "parallelism": 0}, condition("Suspended"), **TIMED_OUT), Phase.FINISHED),
        # The annotation alone frees no slot, nor do counts that somebody has changed while there are pods.
        (make_job({"suspend": False, "parallelism": 1}, **TIMED_OUT), Phase.ADMITTED),
        (make_job({"suspend": False}, **TIMED_OUT), Phase.ADMITTED),
        (make_job({"suspend": False, "parallelism": 0}), Phase.ADMITTED),
        (make_job({"suspend": False, "parallelism": 0}, {"active": 1}, **TIMED_OUT), Phase.ADMITTED),
        (make_job({"suspend": False, "parallelism": 0}, {"terminating": 1}, **TIMED_OUT), Phase.ADMITTED),
        (make_job({"suspend": True, "parallelism": 0}, **TIMED_OUT), Phase.QUEUED),
        # Being deleted: a run that runs holds its slot, one that never started has no need of one.
        (make_job({"suspend": False}, {"active": 1}, **DELETED), Phase.ADMITTED),
        (make_job({"suspend": False}, **DELETED), Phase.ADMITTED),
        (make_job(SUSPENDED, **DELETED), Phase.FINISHED),
        (make_job(SUSPENDED, {"active": 1}, **DELETED), Phase.ADMITTED),
        # With the gate it is queued, whatever Kueue's label says. Without it, Kueue may start it at any moment.
        (make_job(SUSPENDED, **IN_KUEUE, **GATED), Phase.QUEUED),
        (make_job(SUSPENDED, **GATED), Phase.QUEUED),
        (make_job(SUSPENDED, **IN_KUEUE), Phase.ADMITTED),
        (make_job(SUSPENDED, condition("Suspended"), **IN_KUEUE), Phase.ADMITTED),
        (make_job({"suspend": False}, {"active": 1}, **IN_KUEUE), Phase.ADMITTED),
        (make_job({"suspend": False}, {"active": 1}, **IN_KUEUE, **GATED), Phase.ADMITTED),
        (make_job(SUSPENDED, **IN_KUEUE, **DELETED), Phase.FINISHED),
        (make_job(SUSPENDED, {"terminating": 1}, **IN_KUEUE, **DELETED), Phase.ADMITTED),
        (make_job(SUSPENDED, condition("Complete"), **IN_KUEUE), Phase.FINISHED),
        (make_job(SUSPENDED, labels={**OWN_LABELS, labels.LOCAL_QUEUE_LABEL: ""}), Phase.QUEUED),
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


@pytest.mark.parametrize("year", ["0001", "2025", "2027", "9999"])
def test_read_queued_at__ignores_a_time_far_from_the_creation_time(year: str) -> None:
    """Whoever may create Jobs could jump the queue with it. The Job was created at 00:00:01 in 2026."""
    annotations = {labels.QUEUED_AT_ANNOTATION: f"{year}-01-01T00:00:00Z"}
    assert read_run(make_job(SUSPENDED, annotations=annotations)).queued_at == 1_767_225_601_000_000


@given(st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True), max_size=5))
def test_read_depends_on__reads_a_list_of_names(names: list[str]) -> None:
    """In order."""
    assert read_depends_on(json.dumps(names)) == tuple(names)


def test_read_depends_on__reads_the_longest_list_of_a_definition() -> None:
    """As the service writes it."""
    names = [f"{number:02}" + "a" * 62 for number in range(MAX_NAMES)]
    assert count_bytes(names) == MAX_NAMES_BYTES
    assert read_depends_on(json.dumps(names)) == tuple(names)
    assert read_depends_on(json.dumps([*names[1:], names[0] + "a"])) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../../../version", "a/b", "a%2fb", "A", "a b", "é", "a" * 254, "\n"]
)
def test_read_depends_on__takes_no_name_that_no_workload_can_have(name: str) -> None:
    """The service reads workloads by these names with its own rights."""
    assert read_depends_on(json.dumps(["db", name])) is None


def test_read_depends_on__takes_no_more_names_than_a_definition_may_have() -> None:
    """An annotation may have 256 KiB."""
    assert read_depends_on(json.dumps([str(number) for number in range(32_000)])) is None
    assert read_depends_on(json.dumps([str(number) for number in range(MAX_NAMES + 1)])) is None


def test_read_workload__keeps_little_of_an_annotation_that_is_no_number() -> None:
    """It is kept for every workload of the namespace."""
    workload = {
        "metadata": {
            "name": "db",
            "resourceVersion": "1",
            "annotations": {labels.REPLICAS_MIN_ANNOTATION: "9" * 200_000},
        },
        "spec": {},
    }
    replicas_min = read_workload("Deployment", workload).replicas_min
    assert replicas_min is not None
    assert len(replicas_min) < 20
    assert not assess("db", [read_workload("Deployment", workload)]).ready


@pytest.mark.parametrize(
    ("own", "of_pods", "expected"),
    [(None, "0", "0"), ("2", "0", "2"), ("2", None, "2"), (None, None, None)],
)
def test_read_workload__prefers_its_own_minimum_to_that_of_its_pods(
    own: str | None, of_pods: str | None, expected: str | None
) -> None:
    """SlimFaas' manifests have it on the pod template."""

    def metadata(text: str | None) -> dict[str, Any]:
        return {"annotations": {} if text is None else {"SlimFaas/ReplicasMin": text}}

    workload = {
        "metadata": {"name": "db", "resourceVersion": "1", **metadata(own)},
        "spec": {"template": {"metadata": metadata(of_pods)}},
    }
    assert read_workload("Deployment", workload).replicas_min == expected


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
        (make_job({}, STARTED, annotations=GIVEN_UP), None),
        (make_job({}, STARTED, annotations=IN_TIME, **DELETED), None),
        (make_job({}, {**STARTED, **condition("FailureTarget")}, annotations=IN_TIME), None),
        (make_job({}, {**STARTED, **condition("Complete")}, annotations=IN_TIME), None),
        (make_job(SUSPENDED, {**STARTED, "active": 1}, annotations=IN_TIME), None),
        (make_job(SUSPENDED, annotations=IN_TIME), None),
    ],
)
def test_read_run__has_a_pending_start_while_admitted(job: dict[str, Any], awaited: bool | None) -> None:
    """Not of one that has started, is on its way out, or was given up already."""
    read = read_run(job).pending_start
    assert read == (None if awaited is None else PendingStart(1_767_225_609_000_000, 30, has_failed=awaited))


@pytest.mark.parametrize("timeout", [None, "soon", "9" * 11])
def test_read_run__has_a_pending_start_without_seconds_where_no_timeout_can_be_read(timeout: str | None) -> None:
    annotations = {} if timeout is None else {labels.PENDING_TIMEOUT_ANNOTATION: timeout}
    read = read_run(make_job({}, STARTED, annotations=annotations))
    assert read.pending_start == PendingStart(1_767_225_609_000_000, None, has_failed=False)


def suspended_since(time: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Suspended", "status": "True", "lastTransitionTime": time}]}


CREATED = read_time("2026-01-01T00:00:01Z") or 0


@pytest.mark.parametrize(
    ("spec", "status", "more", "seconds_after_creation"),
    [
        # Whole seconds: the run may have been created at the end of its second.
        (SUSPENDED, None, {}, 61),
        (SUSPENDED, suspended_since("2026-01-01T00:00:01Z"), {}, 61),
        # Suspended again after it ran: its time in the queue begins anew.
        (SUSPENDED, suspended_since("2026-01-01T01:00:01Z"), {}, 3661),
        (SUSPENDED, suspended_since("garbage"), {}, 61),
        # Not queued, or not ours to end.
        ({"suspend": False}, None, {}, None),
        (SUSPENDED, {"active": 1}, {}, None),
        (SUSPENDED, None, {labels.HOLD_ANNOTATION: ""}, None),
        (SUSPENDED, None, {labels.HOLD_ANNOTATION: "false"}, 61),
        ({**SUSPENDED, "managedBy": "example.com/other"}, None, {}, None),
        # Nobody has set a time that can be read.
        (SUSPENDED, None, {labels.QUEUE_TIMEOUT_ANNOTATION: ""}, None),
        (SUSPENDED, None, {labels.QUEUE_TIMEOUT_ANNOTATION: "-1"}, None),
        (SUSPENDED, None, {labels.QUEUE_TIMEOUT_ANNOTATION: "1e3"}, None),
        (SUSPENDED, None, {labels.QUEUE_TIMEOUT_ANNOTATION: "\u0664"}, None),
        (SUSPENDED, None, {labels.QUEUE_TIMEOUT_ANNOTATION: "9" * 11}, None),
        # When it says that it was queued does not matter: others may have written that.
        (SUSPENDED, None, {labels.QUEUED_AT_ANNOTATION: "1999-01-01T00:00:00Z"}, 61),
    ],
)
def test_read_run__has_a_queue_deadline_while_queued_with_a_timeout(
    spec: dict[str, Any], status: dict[str, Any] | None, more: dict[str, str], seconds_after_creation: int | None
) -> None:
    run = read_run(make_job(spec, status, annotations={labels.QUEUE_TIMEOUT_ANNOTATION: "60", **more}))
    expected = None if seconds_after_creation is None else CREATED + seconds_after_creation * 1_000_000
    assert run.queue_deadline == expected
    assert (run.queue_timeout_seconds is None) == (expected is None)


START_TEXT = "2026-01-01T00:00:10Z"
END_TEXT = "2026-01-01T00:00:25Z"
START, END = 1_767_225_610_000_000, 1_767_225_625_000_000


def end_condition(kind: str, reason: str | None = None) -> dict[str, Any]:
    found = {"type": kind, "status": "True", "lastTransitionTime": END_TEXT}
    return {"startTime": START_TEXT, "conditions": [found if reason is None else {**found, "reason": reason}]}


@pytest.mark.parametrize(
    ("job", "end"),
    [
        (make_job({}, {"startTime": START_TEXT}), None),
        (make_job({}, end_condition("Complete", "CompletionsReached")), RunEnd("succeeded", "", START, END)),
        (
            make_job({}, {**end_condition("Complete"), "completionTime": "2026-01-01T00:00:20Z", "failed": 2}),
            RunEnd("succeeded", "", START, END - 5_000_000, failed_pods=2),
        ),
        (
            make_job({}, {**end_condition("Failed", "BackoffLimitExceeded"), "failed": 3}),
            RunEnd("failed", "BackoffLimitExceeded", START, END, failed_pods=3),
        ),
        (make_job({}, end_condition("Failed", "x" * 10**6)), RunEnd("failed", "x" * 128, START, END)),
        (make_job({}, end_condition("Failed")), RunEnd("failed", "", START, END)),
        (
            make_job(
                {}, end_condition("Failed", "DeadlineExceeded"), annotations={labels.GAVE_UP_ANNOTATION: "no image"}
            ),
            RunEnd("failed", "PendingTimeout", START, END),
        ),
        (make_job({"parallelism": 0}, **TIMED_OUT), RunEnd("failed", "QueueTimeout")),
        (
            make_job({"parallelism": 0}, end_condition("Failed", "DeadlineExceeded"), **TIMED_OUT),
            RunEnd("failed", "QueueTimeout", ended_at=END),
        ),
        (make_job(SUSPENDED, **DELETED), RunEnd("cancelled")),
        (
            make_job({}, end_condition("Complete"), annotations={labels.STARTED_BY_ANNOTATION: "not a name\n"}),
            RunEnd("succeeded", "", START, END),
        ),
    ],
)
def test_read_run__tells_how_a_finished_run_ended(job: dict[str, Any], end: RunEnd | None) -> None:
    assert read_run(job).end == end


@pytest.mark.parametrize(
    ("end", "retries", "seconds"),
    [
        (RunEnd("succeeded", "", START, END), 0, 15),
        (RunEnd("succeeded", "", START, END, failed_pods=2), 2, 15),
        (RunEnd("failed", "", START, END, failed_pods=3), 2, 15),
        (RunEnd("failed", "QueueTimeout"), 0, None),
        (RunEnd("failed", "", END, START), 0, 0),
    ],
)
def test_run_end__counts_retries_and_seconds(end: RunEnd, retries: int, seconds: float | None) -> None:
    assert (end.retries, end.seconds) == (retries, seconds)


@pytest.mark.parametrize(
    ("job", "awaits_kueue", "gate_ignored"),
    [
        (make_job(SUSPENDED, **IN_KUEUE, **GATED), False, False),
        (make_job(SUSPENDED, condition("Suspended"), **IN_KUEUE), True, False),
        (make_job(SUSPENDED, {"active": 1}, **IN_KUEUE), False, False),
        (make_job({"suspend": False}, {"active": 1}, **IN_KUEUE), False, False),
        (
            make_job({"suspend": False}, {"active": 1}, **IN_KUEUE, **GATED, **written_by("kueue", "f:suspend")),
            False,
            True,
        ),
        (
            make_job({"suspend": False}, {"active": 1}, **IN_KUEUE, **GATED, **written_by("kubectl", "f:suspend")),
            False,
            False,
        ),
        (make_job({"suspend": False}, {"active": 1}, **GATED), False, False),
        (make_job({"suspend": False}, condition("Complete"), **IN_KUEUE, **GATED), False, False),
    ],
)
def test_read_run__tells_what_kueue_does(job: dict[str, Any], awaits_kueue: bool, gate_ignored: bool) -> None:
    run = read_run(job)
    assert (run.awaits_kueue, run.kueue.gate_ignored) == (awaits_kueue, gate_ignored)


@pytest.mark.parametrize(
    ("manager", "metadata", "managed_elsewhere"),
    [
        ("kubernetes.io/job-controller", {}, False),
        ("kueue.x-k8s.io/multikueue", IN_KUEUE, False),
        ("kueue.x-k8s.io/multikueue", {}, True),
        ("example.com/other", IN_KUEUE, True),
    ],
)
def test_read_run__leaves_jobs_of_other_controllers_alone(
    manager: str, metadata: dict[str, Any], managed_elsewhere: bool
) -> None:
    run = read_run(make_job({**SUSPENDED, "managedBy": manager}, **metadata, **GATED))
    assert run.managed_elsewhere is managed_elsewhere


def test_read_run__has_no_queue_deadline_where_kueue_would_stop_its_end() -> None:
    timeout = {"annotations": {**GATED["annotations"], labels.QUEUE_TIMEOUT_ANNOTATION: "60"}}
    assert read_run(make_job(SUSPENDED, **timeout)).queue_timeout_seconds == 60
    assert read_run(make_job(SUSPENDED, **IN_KUEUE, **timeout)).queue_timeout_seconds is None
    undone = {"annotations": {**timeout["annotations"], **TIMED_OUT["annotations"]}}
    assert read_run(make_job({**SUSPENDED, "parallelism": 0}, **undone)).queue_timeout_seconds is None


def test_read_run__counts_its_own_gate_alone() -> None:
    both = {"annotations": {labels.GATE_ANNOTATION: f"example.com/other, {labels.GATE}"}}
    run = read_run(make_job(SUSPENDED, **IN_KUEUE, **both))
    assert (run.phase, run.kueue.other_gates) == (Phase.QUEUED, "example.com/other")
    others = {"annotations": {labels.GATE_ANNOTATION: "example.com/other"}}
    assert read_run(make_job(SUSPENDED, **IN_KUEUE, **others)).phase is Phase.ADMITTED


@pytest.mark.parametrize(
    ("job", "undone"),
    [
        (make_job(SUSPENDED, **written_by("kueue", "f:suspend")), "start"),
        (make_job(SUSPENDED, **written_by("kueue", "f:template")), ""),
        (make_job(SUSPENDED, **written_by("slimfaas-jobs", "f:suspend")), ""),
        (make_job({"suspend": False}, **written_by("kueue", "f:suspend")), ""),
        (make_job(SUSPENDED, **IN_KUEUE, **GATED, **written_by("kueue", "f:suspend")), ""),
        (make_job(SUSPENDED, managedFields=[{"manager": "kueue"}]), ""),
        (make_job({**SUSPENDED, "parallelism": 0}, **TIMED_OUT, **written_by("kueue", "f:suspend")), "end"),
    ],
)
def test_read_run__tells_what_kueue_has_undone_of_a_job_without_a_queue(job: dict[str, Any], undone: str) -> None:
    assert read_run(job).undone_by_kueue == undone
