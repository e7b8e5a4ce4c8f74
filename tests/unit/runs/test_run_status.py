"""The status of a run, for Jobs and pods in every state that Kubernetes brings them into."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import RESULT_BYTES, Attempt, keep_last, sort_attempts
from app.kube import labels
from app.kube.attempts import cut, read_attempt
from app.kube.manifests import escape, unescape
from app.kube.parsing import read_run, read_time
from app.runs.run_status import QueuedStatus, awaits_pod_since, awaits_volumes, build_view, possible_statuses
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
        pytest.param(
            make_job(), [make_pod("a", "Pending")], Status.PENDING, "Starting", "nor a node", id="nothing known"
        ),
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
            make_job(status={"failed": 1}),
            [make_pod("a", "Failed", ended(137), reason="Evicted", message="low on memory")],
            Status.PENDING, "Retrying",
            "the last pod that failed: Evicted; low on memory; the container that ended last had exit code 137",
            id="evicted while it ran",
        ),
        pytest.param(
            make_job(status={"failed": 1}),
            [
                make_pod(
                    "a", "Failed", ended(143),
                    conditions=[
                        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                         "message": "preempting to accommodate a higher priority pod"}
                    ],
                )
            ],
            Status.PENDING, "Retrying",
            "the last pod that failed: PreemptionByScheduler; preempting to accommodate a higher priority pod; the",
            id="preempted",
        ),
        pytest.param(
            make_job(status={"failed": 1}),
            [make_pod("a", "Failed", ended(1), conditions=[{"type": "DisruptionTarget", "status": "False"}])],
            Status.PENDING, "Retrying", "retries used; the container that ended last had exit code 1",
            id="not disrupted",
        ),
        pytest.param(
            make_job(status=LIMIT_REACHED),
            [
                make_pod(
                    "a", "Failed",
                    containerStatuses=[
                        {"name": "fib", "state": ended(0, "Completed")},
                        {"name": "proxy", "state": ended(1, message="no route")},
                    ],
                )
            ],
            Status.FAILED, "BackoffLimitExceeded",
            "the last pod that failed: ContainerFailed; the container proxy has ended with exit code 1: no route; "
            "the container that ended last had exit code 0",
            id="another container failed",
        ),
        pytest.param(
            make_job(status=condition("Complete")), [make_pod("a", "Succeeded", ended(0, "OOMKilled"))],
            Status.SUCCEEDED, "OOMKilled", "memory ran out", id="succeeded without one of its processes",
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


def test_build_view__names_the_containers_that_outlive_the_runs_own() -> None:
    """A service mesh injects a proxy that does not end by itself; the exit code is known all the same."""
    [proxy, fib] = make_pod("a", "Running", ended(3, message="why"))["status"]["containerStatuses"]
    pod = make_pod("a", "Running", containerStatuses=[proxy, fib]) | {"spec": {"restartPolicy": "Never"}}
    view = view_of(make_job(status={"active": 1}), pod)
    assert (view.status, view.reason, view.exit_code, view.result) == (Status.RUNNING, "SidecarRunning", 3, "why")
    assert view.message == "its container has ended with exit code 3; the container injected still runs"
    pod["status"]["containerStatuses"].append({"name": "mesh", "state": RUNNING})
    assert view_of(make_job(), pod).message.endswith("the containers injected, mesh still run")
    proxy["state"] = waiting("ImagePullBackOff", PULL_MESSAGE)
    view = view_of(make_job(), pod)
    assert (view.status, view.reason) == (Status.RUNNING, "ImagePullBackOff")
    assert view.message == f"its container has ended with exit code 3; the container injected: {PULL_MESSAGE}"


@pytest.mark.parametrize(
    ("policy", "code", "status", "reason"),
    [
        ("Never", 1, Status.RUNNING, "Ending"),
        ("OnFailure", 0, Status.RUNNING, "Ending"),
        ("OnFailure", 1, Status.PENDING, "Starting"),
    ],
)
def test_build_view__is_running_after_the_end_of_a_container_that_is_not_restarted(
    policy: str, code: int, status: Status, reason: str
) -> None:
    """The pod ends in a moment. Before a restart, the kubelet gives no reason yet."""
    statuses = [{"name": "fib", "state": ended(code)}]
    pod = make_pod("a", "Running", containerStatuses=statuses) | {"spec": {"restartPolicy": policy}}
    view = view_of(make_job(), pod)
    assert (view.status, view.reason, view.exit_code) == (status, reason, code)


def make_initializing(*containers: Json, phase: str = "Pending", policy: str = "Never") -> Json:
    """Make a pod whose own container waits for init containers; those called sidecar are restarted always."""
    specs = [
        {"name": one["name"]} | ({"restartPolicy": "Always"} if one["name"] == "sidecar" else {}) for one in containers
    ]
    pod = make_pod("a", phase, waiting("PodInitializing"), initContainerStatuses=list(containers))
    return pod | {"spec": {"restartPolicy": policy, "initContainers": specs}}


LAST_END = ended(2, message="no\n")
SETUP_DONE: Json = {"name": "setup", "state": ended(0, "Completed")}


@pytest.mark.parametrize(
    ("containers", "status", "reason", "message"),
    [
        pytest.param(
            [{"name": "setup", "state": waiting("ImagePullBackOff", PULL_MESSAGE)}],
            Status.IMAGE_PULL_BACK_OFF, "ImagePullBackOff", f"the init container setup: {PULL_MESSAGE}", id="its image",
        ),
        pytest.param(
            [SETUP_DONE, {"name": "fetch", "state": waiting("CreateContainerConfigError", 'secret "x" not found')}],
            Status.PENDING, "CreateContainerConfigError", 'the init container fetch: secret "x" not found',
            id="the second one lacks a secret",
        ),
        pytest.param(
            [{"name": "setup", "state": waiting("CrashLoopBackOff", "back-off 10s"), "lastState": LAST_END}],
            Status.PENDING, "CrashLoopBackOff",
            "the init container setup: back-off 10s; it has ended with exit code 2: no", id="restarted",
        ),
        pytest.param(
            [{"name": "setup", "state": ended(137, "OOMKilled")}],
            Status.PENDING, "InitContainerFailed", "the init container setup has ended with exit code 137 (OOMKilled)",
            id="failed, the pod not yet",
        ),
        pytest.param(
            [{"name": "setup", "state": RUNNING}, {"name": "fetch", "state": waiting("PodInitializing")}],
            Status.PENDING, "PodInitializing", "the init container setup has not ended yet", id="runs",
        ),
        pytest.param(
            [{"name": "sidecar", "state": RUNNING, "started": False}],
            Status.PENDING, "PodInitializing", "the sidecar sidecar has not started yet", id="a sidecar not up",
        ),
        pytest.param(
            [{"name": "sidecar", "state": ended(1, message="no route")}],
            Status.PENDING, "PodInitializing",
            "the sidecar sidecar is restarted; it has ended with exit code 1: no route", id="a sidecar that crashed",
        ),
        pytest.param(
            [{"name": "sidecar", "state": RUNNING, "started": True}, SETUP_DONE],
            Status.PENDING, "PodInitializing", "PodInitializing", id="all ready",
        ),
    ],
)  # fmt: skip
def test_build_view__names_the_init_container_that_a_run_waits_for(
    containers: list[Json], status: Status, reason: str, message: str
) -> None:
    """Its own container says only that the pod is initializing."""
    view = view_of(make_job(status={"active": 1}), make_initializing(*containers))
    assert (view.status, view.reason, view.message) == (status, reason, message)


def test_build_view__names_the_init_container_that_failed() -> None:
    pod = make_initializing({"name": "setup", "state": ended(2, message="no such bucket")}, phase="Failed")
    view = view_of(make_job(status=LIMIT_REACHED), pod)
    assert (view.status, view.reason, view.exit_code) == (Status.FAILED, "BackoffLimitExceeded", -1)
    assert view.message == (
        "Job has reached the limit; the last pod that failed: InitContainerFailed; "
        "the init container setup has ended with exit code 2: no such bucket"
    )


def test_build_view__of_a_failed_run_passes_over_the_sidecar_that_was_killed_with_it() -> None:
    """A sidecar is killed when its pod ends, so its exit code is usual."""
    setup = {"name": "setup", "state": ended(2, message="no such bucket")}
    pod = make_initializing({"name": "sidecar", "state": ended(143)}, setup, phase="Failed")
    assert "the init container setup has ended" in view_of(make_job(status=LIMIT_REACHED), pod).message
    pod["status"]["initContainerStatuses"].pop()
    view = view_of(make_job(status=LIMIT_REACHED), pod)
    assert view.message == "Job has reached the limit; the last pod that failed: PodInitializing"


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
        Attempt("u", name, 0, phase, running=False, restarts=0, waiting_reason=None, ending=None)
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


WAITED = "was queued for longer than its QueueTimeoutSeconds (60 s); db was not ready"


def ended_in_queue(*conditions: Json) -> Json:
    return make_job(
        spec={"parallelism": 0},
        status={"startTime": "2026-01-01T00:01:01Z", "conditions": list(conditions)},
        annotations={labels.QUEUE_TIMED_OUT_ANNOTATION: WAITED},
    )


def test_build_view__has_the_dispatchers_reason_for_a_run_that_was_ended_in_the_queue() -> None:
    """It never started, although its Job says so."""
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "DeadlineExceeded",
        "lastTransitionTime": "2026-01-01T00:01:02Z",
    }
    view = build_view(ended_in_queue({"type": "Suspended", "status": "False"}, failed))
    assert (view.status, view.reason, view.message) == (Status.FAILED, "QueueTimeout", WAITED)
    assert (view.start_timestamp, view.queue_duration_milliseconds, view.run_duration_milliseconds) == (-1, -1, -1)
    assert view.end_timestamp - view.in_queue_timestamp == 62_000


def test_build_view__is_queued_while_a_run_is_ended_in_the_queue() -> None:
    """Until Kubernetes says so, it has not failed."""
    job = ended_in_queue()
    view = build_view(job)
    assert (view.status, view.reason, view.message) == (Status.QUEUED, "QueueTimeout", f"is being ended; {WAITED}")
    assert view.status in possible_statuses(job, read_run(job))


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


@pytest.mark.parametrize(
    ("job", "pods", "since"),
    [
        (make_job(status={"startTime": "2026-01-01T00:00:03Z"}), [], "2026-01-01T00:00:03Z"),
        (make_job(status={"failed": 1}), [make_pod("a", "Failed", ended(3), second=7)], "2026-01-01T00:00:08Z"),
        (make_job(), [], None),
        (make_job(status={"startTime": "2026-01-01T00:00:03Z", "failed": 1}), [], None),
        (make_job(status={"startTime": "2026-01-01T00:00:03Z"}), [make_pod("a", "Pending")], None),
        (make_job(status={"startTime": "2026-01-01T00:00:03Z", **LIMIT_REACHED}), [], None),
        (make_job(spec={"suspend": True}), [], None),
    ],
    ids=["no pod yet", "a retry", "not started", "no attempt is left", "a pod", "failed", "queued"],
)
def test_awaits_pod_since__is_when_the_last_attempt_left_the_run_without_a_pod(
    job: Json, pods: list[Json], since: str | None
) -> None:
    attempts = [read_attempt(pod) for pod in pods]
    assert awaits_pod_since(build_view(job, attempts), job, attempts) == read_time(since)


CREATING = waiting("ContainerCreating")
PREPARED = {"conditions": [{"type": "PodReadyToStartContainers", "status": "True"}]}
UNPREPARED = {"conditions": [{"type": "PodReadyToStartContainers", "status": "False"}]}


@pytest.mark.parametrize(
    ("pods", "awaits"),
    [
        ([], False),
        ([make_pod("a", "Pending", CREATING)], True),
        ([make_pod("a", "Pending", waiting("PodInitializing"))], True),
        ([make_pod("a", "Pending")], True),
        ([make_pod("a", "Pending", CREATING, **UNPREPARED)], True),
        ([make_pod("a", "Pending", CREATING, **PREPARED)], False),
        ([make_pod("a", "Pending", waiting("ErrImagePull"))], False),
        ([make_pod("a", "Pending", waiting("ContainerCreating", "told"))], False),
        ([make_pod("a", "Running", RUNNING)], False),
        ([make_pod("a", "Failed", ended(1)), make_pod("b", "Pending", CREATING, second=9)], True),
        ([make_pod("a", "Pending", CREATING), make_pod("b", "Failed", ended(1), second=9)], False),
    ],
    ids=[
        "no pod", "creating", "initializing", "no word of the kubelet", "not prepared", "prepared", "an image",
        "a reason", "running", "a retry", "failed since",
    ],
)  # fmt: skip
def test_awaits_volumes__is_the_last_attempt_while_nothing_else_is_known(pods: list[Json], awaits: bool) -> None:
    attempts = [read_attempt(pod) for pod in pods]
    found = awaits_volumes(build_view(make_job(), attempts), attempts)
    assert (found is not None) == awaits
    assert found is None or found.pod == sorted(pods, key=lambda pod: pod["metadata"]["name"])[-1]["metadata"]["name"]


def test_build_view__tells_why_the_volumes_of_a_retry_are_not_mounted() -> None:
    failed, retry = (
        read_attempt(make_pod("a", "Failed", ended(3))),
        read_attempt(make_pod("b", "Pending", CREATING, second=9)),
    )
    view = build_view(make_job(status={"failed": 1, "active": 1}), [failed, retry.without_volumes("no data")])
    assert (view.status, view.reason) == (Status.PENDING, "FailedMount")
    assert view.message == (
        "its volumes can't be mounted, and Kubernetes tries again: no data; retry 1 of 2; "
        "the container that ended last had exit code 3"
    )


def test_build_view__tells_why_the_pod_of_a_retry_could_not_be_created() -> None:
    attempts = [read_attempt(make_pod("a", "Failed", ended(3)))]
    view = build_view(make_job(status={"failed": 1}), attempts, pod_refusal="no room")
    assert (view.status, view.reason) == (Status.PENDING, "FailedCreate")
    assert view.message == (
        "its pod could not be created, and Kubernetes tries again: no room; "
        "waits for a retry: 0 of 2 retries used; the container that ended last had exit code 3"
    )
