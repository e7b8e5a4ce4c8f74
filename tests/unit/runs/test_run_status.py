"""The status of a run, for Jobs and pods in every state that Kubernetes brings them into."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import RESULT_BYTES, Attempt, keep_last, sort_attempts
from app.kube import labels
from app.kube.attempts import cut, read_attempt
from app.kube.manifests import escape, unescape
from app.kube.parsing import read_run
from app.runs.run_status import QueuedStatus, build_view, possible_statuses
from schemas.run import RunView, Status

Json = dict[str, Any]
PULL_MESSAGE = 'Back-off pulling image "nowhere/x:1": rpc error: not found'


def make_job(*, spec: Json | None = None, status: Json | None = None, **metadata: Any) -> Json:
    container = {
        "name": "fib",
        "image": "busybox:1",
        "args": ["$$(HOME)", "a$$$$b"],
        "env": [{"name": "A", "value": "hidden"}, {"name": "B", "valueFrom": {}}],
        "resources": {"limits": {"cpu": "1"}},
    }
    return {
        "metadata": {
            "name": "fib-slimfaas-job-abcdefghijkl",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"},
            **metadata,
        },
        "spec": {
            "suspend": False,
            "backoffLimit": 2,
            "template": {"spec": {"containers": [{"name": "injected", "image": "proxy:1"}, container]}},
            **(spec or {}),
        },
        "status": status or {},
    }


def make_pod(name: str, phase: str, state: Json | None = None, *, second: int = 0, **more: Any) -> Json:
    fib = {"name": "fib", "state": state or {}, **more.pop("container", {})}
    statuses = [{"name": "injected", "state": {"running": {}}, "restartCount": 9}, fib]
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{second:02}Z",
            "labels": {labels.DEFINITION_LABEL: "fib"},
            "ownerReferences": [{"uid": more.pop("owner", "u"), "controller": True}],
        },
        "status": {"phase": phase, **({"containerStatuses": statuses} if state else {}), **more},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> Json:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def view_of(job: Json, *pods: Json) -> RunView:
    return build_view(job, [read_attempt(pod) for pod in pods])


def condition(kind: str, **more: str) -> Json:
    return {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z", **more}]}


RUNNING: Json = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}
LIMIT_REACHED = condition("Failed", reason="BackoffLimitExceeded", message="Job has reached the limit")


@pytest.mark.parametrize(
    ("job", "pods", "status", "reason", "message"),
    [
        pytest.param(make_job(), [], Status.PENDING, "Starting", "its pod is not created yet", id="no pod yet"),
        pytest.param(make_job(), [make_pod("a", "Pending")], Status.PENDING, "Starting", "", id="nothing known"),
        pytest.param(
            make_job(),
            [make_pod("a", "Pending", waiting("ImagePullBackOff", PULL_MESSAGE))],
            Status.IMAGE_PULL_BACK_OFF, "ImagePullBackOff", PULL_MESSAGE, id="the kubelet's message about an image",
        ),
        pytest.param(
            make_job(),
            [make_pod("a", "Pending", waiting("InvalidImageName"))],
            Status.IMAGE_PULL_BACK_OFF, "InvalidImageName", "InvalidImageName", id="no message about an image",
        ),
        pytest.param(
            make_job(),
            [make_pod("a", "Pending", waiting("CreateContainerConfigError", 'secret "x" not found'))],
            Status.PENDING, "CreateContainerConfigError", 'secret "x" not found', id="a missing secret",
        ),
        pytest.param(
            make_job(),
            [
                make_pod(
                    "a", "Pending",
                    conditions=[
                        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                    ],
                )
            ],
            Status.PENDING, "Unschedulable", "0/3 nodes", id="no node",
        ),
        pytest.param(make_job(), [make_pod("a", "Running", RUNNING)], Status.RUNNING, "", "", id="running"),
        pytest.param(
            make_job(status={"failed": 1}), [make_pod("a", "Failed", ended(3))],
            Status.PENDING, "Retrying", "0 of 2 retries used; the container that ended last had exit code 3",
            id="a failed pod is no failed run",
        ),
        pytest.param(
            make_job(status={"failed": 1, "active": 1}),
            [make_pod("b", "Running", RUNNING, second=9), make_pod("a", "Failed", ended(137, "OOMKilled"))],
            Status.RUNNING, "Retrying", "retry 1 of 2; the container that ended last had exit code 137 (OOMKilled)",
            id="the second attempt",
        ),
        pytest.param(
            make_job(status={"active": 1}),
            [
                make_pod(
                    "a", "Running", waiting("CrashLoopBackOff", "back-off 10s"),
                    container={"restartCount": 1, "lastState": ended(1)},
                )
            ],
            Status.PENDING, "CrashLoopBackOff", "back-off 10s; retry 1 of 2", id="a container that is restarted",
        ),
        pytest.param(
            make_job(status={"failed": 1}),
            [make_pod("a", "Failed", reason="Evicted", message="low on memory")],
            Status.PENDING, "Retrying", "the last pod that failed: Evicted; low on memory", id="evicted",
        ),
        pytest.param(
            make_job(status={"failed": 3}), [make_pod("a", "Failed", ended(1))],
            Status.RUNNING, "Ending", "no retry is left", id="no retry left, no condition yet",
        ),
        pytest.param(
            make_job(status=condition("FailureTarget", message="deadline")), [make_pod("a", "Running", RUNNING)],
            Status.RUNNING, "Ending", "deadline", id="about to fail",
        ),
        pytest.param(
            make_job(status=condition("SuccessCriteriaMet")), [],
            Status.RUNNING, "Ending", "being ended", id="about to succeed",
        ),
        pytest.param(
            make_job(), [make_pod("a", "Succeeded", ended(0))],
            Status.RUNNING, "Ending", "", id="succeeded, no condition yet",
        ),
        pytest.param(
            make_job(spec={"suspend": True}, status={"active": 1}), [make_pod("a", "Running", RUNNING)],
            Status.RUNNING, "Suspended", "holds its slot", id="suspended again",
        ),
        pytest.param(
            make_job(deletionTimestamp="2026-01-01T00:00:09Z"), [make_pod("a", "Running", RUNNING)],
            Status.RUNNING, "Deleting", "holds its slot", id="deleted while it runs",
        ),
        pytest.param(
            make_job(spec={"suspend": True}, deletionTimestamp="2026-01-01T00:00:09Z"), [],
            Status.QUEUED, "Deleting", "before it started", id="deleted before it started",
        ),
        pytest.param(make_job(status=condition("Complete")), [], Status.SUCCEEDED, "", "", id="its pods are gone"),
        pytest.param(
            make_job(status=LIMIT_REACHED), [], Status.FAILED, "BackoffLimitExceeded", "Job has reached the limit",
            id="failed, its pods are gone",
        ),
        pytest.param(
            make_job(status=LIMIT_REACHED), [make_pod("a", "Failed", ended(2))],
            Status.FAILED, "BackoffLimitExceeded", "limit; the container that ended last had exit code 2", id="failed",
        ),
        pytest.param(
            make_job(), [make_pod("a", "Running", RUNNING, owner="another")],
            Status.PENDING, "Starting", "its pod is not created yet", id="the pod of an earlier Job of this name",
        ),
    ],
)  # fmt: skip
def test_build_view__has_status_reason_and_message(
    job: Json, pods: list[Json], status: Status, reason: str, message: str
) -> None:
    view = view_of(job, *pods)
    assert (view.status, view.reason) == (status, reason)
    assert message in view.message
    assert view.status in possible_statuses(job, read_run(job))


def test_build_view__shows_the_definitions_container_without_values_of_variables() -> None:
    """The arguments are as the request gave them."""
    view = view_of(make_job())
    assert (view.image, view.args, view.environments) == ("busybox:1", ("$(HOME)", "a$$b"), ("A", "B"))
    assert (view.resources.limits, view.resources.requests) == ({"cpu": "1"}, {})
    assert "hidden" not in repr(view)


@given(st.text())
def test_unescape__restores_any_escaped_argument(text: str) -> None:
    assert unescape(escape(text)) == text


@pytest.mark.parametrize(
    ("status", "pods", "attempts"),
    [
        ({}, [], 0),
        ({"active": 1}, [], 1),
        ({}, [make_pod("a", "Pending")], 1),
        ({"failed": 2, "active": 1}, [make_pod("c", "Running", RUNNING)], 3),
        ({"failed": 1, "uncountedTerminatedPods": {"failed": ["b"]}}, [], 2),
        ({"uncountedTerminatedPods": {"succeeded": ["b"]}}, [], 1),
        ({"failed": 1}, [make_pod("a", "Failed", ended(1)), make_pod("b", "Pending")], 2),
        ({"active": 1}, [make_pod("a", "Running", RUNNING, container={"restartCount": 3})], 4),
    ],
)
def test_build_view__counts_pods_and_restarts_as_attempts(status: Json, pods: list[Json], attempts: int) -> None:
    """By the Job where pods are gone, by the pods where the Job's counts are late."""
    assert view_of(make_job(status=status), *pods).attempts == attempts


def test_build_view__has_the_result_of_the_container_that_ended_last() -> None:
    """While a retry starts, that is the attempt before it."""
    first = make_pod("a", "Failed", ended(1, message="one"), second=1)
    second = make_pod("b", "Failed", ended(2, message="two"), second=2)
    third = make_pod("c", "Pending", second=3)
    view = view_of(make_job(status={"failed": 2, "active": 1}), third, first, second)
    assert (view.exit_code, view.result) == (2, "two")


@given(st.permutations(["Failed", "Succeeded", "Running"]), st.randoms())
def test_sort_attempts__puts_failed_pods_of_one_second_first(names: list[str], random: Any) -> None:
    pods = [
        Attempt("u", name, 0, phase, running=False, restarts=0, trouble=None, ending=None)
        for name, phase in zip(names, ("Failed", "Succeeded", "Running"), strict=True)
    ]
    random.shuffle(pods)
    assert [pod.phase for pod in sort_attempts(pods)] == ["Failed", "Succeeded", "Running"]


def test_keep_last__keeps_the_last_of_very_many_attempts() -> None:
    kept: list[Attempt] = []
    for second in range(59):
        kept = keep_last([*kept, read_attempt(make_pod(f"p{second}", "Failed", second=second))])
    assert [attempt.pod for attempt in kept] == [f"p{second}" for second in range(27, 59)]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=RESULT_BYTES))
def test_cut__keeps_as_many_whole_characters_as_fit(text: str) -> None:
    long = text * 3
    result = cut(long)
    assert long.startswith(result)
    assert len(result.encode()) <= RESULT_BYTES
    assert result == long or len((result + long[len(result)]).encode()) > RESULT_BYTES


def test_build_view__has_no_negative_duration() -> None:
    """Kubernetes cuts times to whole seconds."""
    annotations = {labels.QUEUED_AT_ANNOTATION: "2026-01-01T00:00:01.500000Z"}
    status = {"startTime": "2026-01-01T00:00:01Z", **LIMIT_REACHED}
    view = view_of(make_job(status=status, annotations=annotations))
    assert view.queue_duration_milliseconds == 0
    assert view.run_duration_milliseconds == 8000
    assert view_of(make_job(annotations=annotations)).queue_duration_milliseconds == -1


def test_build_view__has_the_position_and_reason_of_a_queued_run() -> None:
    view = build_view(make_job(spec={"suspend": True}), waiting=QueuedStatus(3, "WaitingForSlot", "waits for a slot"))
    assert (view.status, view.position_in_queue, view.reason) == (Status.QUEUED, 3, "WaitingForSlot")


MISSED_DEADLINE = {labels.GAVE_UP_ANNOTATION: "its container has not started within 60 s: ImagePullBackOff"}


def test_build_view__has_the_dispatchers_reason_where_the_start_deadline_was_missed() -> None:
    """Kubernetes only says that a deadline was exceeded, which the caller has not set."""
    overdue = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "longer than specified"}
    view = build_view(make_job(status={"conditions": [overdue]}, annotations=MISSED_DEADLINE))
    assert (view.status, view.reason) == (Status.FAILED, "PendingTimeout")
    assert view.message == MISSED_DEADLINE[labels.GAVE_UP_ANNOTATION]


def test_build_view__is_pending_while_a_run_that_missed_its_start_deadline_is_ended() -> None:
    """Its pod is not gone yet: it holds its slot."""
    pods = [read_attempt(make_pod("p", "Pending", {"waiting": {"reason": "ImagePullBackOff"}}))]
    view = build_view(make_job(status={"active": 1}, annotations=MISSED_DEADLINE), pods)
    assert (view.status, view.reason) == (Status.PENDING, "PendingTimeout")
    assert view.message == f"is being ended; {MISSED_DEADLINE[labels.GAVE_UP_ANNOTATION]}"


@pytest.mark.parametrize(
    ("condition", "status", "reason"),
    [
        ({"type": "Complete", "status": "True"}, Status.SUCCEEDED, ""),
        ({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}, Status.FAILED, "BackoffLimitExceeded"),
    ],
)
def test_build_view__has_the_actual_end_where_the_run_ended_before_its_deadline_took_effect(
    condition: Json, status: Status, reason: str
) -> None:
    view = build_view(make_job(status={"conditions": [condition]}, annotations=MISSED_DEADLINE))
    assert (view.status, view.reason) == (status, reason)
