"""The status of runs whose pods have several containers, with pods as a kubelet writes them."""

from typing import Any

import pytest

from app.domain.attempt import Attempt
from app.kube import labels
from app.kube.attempts import read_attempt
from app.runs.run_status import build_view
from schemas.run import RunView, Status

Json = dict[str, Any]
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
ZERO = {"exitCode": 0, "reason": "Completed"}
CREATED_AT = 1_767_225_600_000_000
SECOND = 1_000_000


def container(name: str, state: str, **more: Any) -> tuple[Json, Json]:
    """Return spec and status of a container.

    Its state is `running`, `waiting: REASON: message`, or `ended: CODE REASON`, with the message in `message`. Other
    arguments are fields of the status, or, if they start with `spec_`, of the spec.
    """
    kind, _, rest = state.partition(": ")
    message = {"message": more.pop("message")} if "message" in more else {}
    spec = {"name": name, "image": f"{name}:1"}
    spec |= {key.removeprefix("spec_"): more.pop(key) for key in list(more) if key.startswith("spec_")}
    if kind == "running":
        told: Json = {"running": {"startedAt": "2026-01-01T00:00:02Z"}}
    elif kind == "waiting":
        reason, _, text = rest.partition(": ")
        told = {"waiting": {"reason": reason} | ({"message": text} if text else {})}
    else:
        told = {"terminated": end(rest) | message}
    status = {
        "name": name, "image": f"{name}:1", "imageID": "", "restartCount": 0, "ready": kind == "running",
        "started": kind == "running", "state": told, "lastState": {},
    }  # fmt: skip
    return spec, {**status, **more}


def end(text: str, at: str = "2026-01-01T00:00:05Z") -> Json:
    code, _, reason = text.partition(" ")
    times = {"startedAt": "2026-01-01T00:00:02Z", "finishedAt": at, "containerID": "containerd://1"}
    return {"exitCode": int(code), "reason": reason or ("Error" if int(code) else "Completed"), **times}


def sidecar(name: str, state: str, **more: Any) -> tuple[Json, Json]:
    return container(name, state, spec_restartPolicy="Always", **more)


def make_pod(
    phase: str,
    *regular: tuple[Json, Json],
    initial: tuple[tuple[Json, Json], ...] = (),
    policy: str = "Never",
    annotation: str | None = None,
    definition: str = "fib",
) -> Json:
    """Make a pod. As a kubelet does, sort the statuses of regular containers by name."""
    statuses: Json = {"containerStatuses": sorted((status for _, status in regular), key=lambda one: str(one["name"]))}
    if initial:
        statuses["initContainerStatuses"] = [status for _, status in initial]
    spec = {"restartPolicy": policy, "containers": [spec for spec, _ in regular]}
    return {
        "metadata": {
            "name": "fib-pod",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {labels.DEFINITION_LABEL: definition},
            "annotations": {} if annotation is None else {DEFAULT_CONTAINER: annotation},
            "ownerReferences": [{"uid": "u", "controller": True}],
        },
        "spec": spec | ({"initContainers": [spec for spec, _ in initial]} if initial else {}),
        "status": {"phase": phase, **statuses},
    }


def make_job(**status: Any) -> Json:
    template = {"spec": {"containers": [{"name": "fib", "image": "fib:1"}]}}
    return {
        "metadata": {
            "name": "fib-slimfaas-job-abcdefghijkl",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {labels.MANAGED_BY_LABEL: labels.MANAGED_BY, labels.DEFINITION_LABEL: "fib"},
        },
        "spec": {"suspend": False, "backoffLimit": 0, "template": template},
        "status": status or {"active": 1},
    }


FAILED = {
    "failed": 1,
    "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit reached"}],
}


def view_of(pod: Json, **status: Any) -> RunView:
    return build_view(make_job(**status), [read_attempt(pod)])


WAITS = "waiting: PodInitializing"
CREATES = "waiting: ContainerCreating"
PULLS = 'waiting: ImagePullBackOff: Back-off pulling image "x"'


@pytest.mark.parametrize(
    ("pod", "own"),
    [
        (make_pod("Running", container("main", "ended: 3"), container("fib", "running")), "fib"),
        (make_pod("Running", container("main", "ended: 3"), container("fib", "running"), annotation="main"), "main"),
        (make_pod("Running", container("b", "ended: 3"), container("a", "running")), "b"),
        (make_pod("Running", container("b", "running"), container("a", "running"), annotation="none"), "b"),
    ],
)
def test_read_attempt__is_of_the_annotated_container_then_of_the_definitions_then_of_the_first(
    pod: Json, own: str
) -> None:
    """The first of the spec: statuses are sorted by name."""
    attempt = read_attempt(pod)
    assert attempt.container == own
    assert attempt.running is (own in ("fib", "b") and attempt.ending is None)


def test_read_attempt__takes_no_other_container_for_the_runs_own() -> None:
    """Until the kubelet has written about it, nothing is known of it."""
    pod = make_pod("Running", container("fib", "running"), container("proxy", "ended: 1"))
    pod["status"]["containerStatuses"] = [one for one in pod["status"]["containerStatuses"] if one["name"] == "proxy"]
    attempt = read_attempt(pod)
    assert (attempt.container, attempt.has_started, attempt.ending) == ("fib", False, None)


@pytest.mark.parametrize(
    ("pod", "status", "reason", "message"),
    [
        pytest.param(
            make_pod("Running", container("fib", "ended: 0"), container("proxy", "running")),
            Status.RUNNING, "SidecarRunning",
            "its container has ended with exit code 0; the container proxy still runs", id="a sidecar runs on",
        ),
        pytest.param(
            make_pod(
                "Running", container("fib", "ended: 0"), container("proxy", "running"),
                initial=(sidecar("mesh", "running"),),
            ),
            Status.RUNNING, "SidecarRunning",
            "its container has ended with exit code 0; the container proxy still runs",
            id="a sidecar that Kubernetes ends is no reason",
        ),
        pytest.param(
            make_pod("Running", container("fib", "ended: 0"), initial=(sidecar("mesh", "running"),)),
            Status.RUNNING, "Ending", "its last pod is being ended; its container has ended with exit code 0",
            id="Kubernetes ends the sidecar",
        ),
        pytest.param(
            make_pod("Running", container("fib", "ended: 0"), container("proxy", "ended: 137 OOMKilled")),
            Status.RUNNING, "Ending",
            "its last pod is being ended; its container has ended with exit code 0; "
            "the container proxy has ended with exit code 137 (OOMKilled)", id="the sidecar failed",
        ),
        pytest.param(
            make_pod(
                "Running", container("fib", "ended: 0"), container("a", "ended: 2"), container("z", "running"),
            ),
            Status.RUNNING, "SidecarRunning",
            "its container has ended with exit code 0; the container z still runs; "
            "the container a has ended with exit code 2", id="one sidecar failed, another runs on",
        ),
        pytest.param(
            make_pod("Pending", container("fib", "ended: 0"), container("proxy", PULLS)),
            Status.RUNNING, "ImagePullBackOff",
            'its container has ended with exit code 0; the container proxy: Back-off pulling image "x"',
            id="a sidecar without an image",
        ),
        pytest.param(
            make_pod("Running", container("fib", "running"), container("proxy", "ended: 137 OOMKilled")),
            Status.RUNNING, "ContainerFailed", "the container proxy has ended with exit code 137 (OOMKilled)",
            id="another container was killed while it runs",
        ),
        pytest.param(
            make_pod("Pending", container("fib", "running"), container("proxy", PULLS)),
            Status.RUNNING, "ImagePullBackOff", 'the container proxy: Back-off pulling image "x"',
            id="it runs, another has no image",
        ),
        pytest.param(
            make_pod("Pending", container("fib", "running"), container("proxy", CREATES)),
            Status.RUNNING, "", "", id="it runs, another is being created",
        ),
        pytest.param(
            make_pod("Running", container("fib", "running"), container("proxy", "ended: 0")),
            Status.RUNNING, "", "", id="it runs, another has succeeded",
        ),
        pytest.param(
            make_pod(
                "Running", container("fib", "running"),
                initial=(sidecar(
                    "mesh", "waiting: CrashLoopBackOff: back-off 10s", lastState={"terminated": end("1")},
                    restartCount=4),),
            ),
            Status.RUNNING, "CrashLoopBackOff",
            "the sidecar mesh: back-off 10s; it has ended with exit code 1", id="it runs, its sidecar crashes",
        ),
        pytest.param(
            make_pod("Pending", container("fib", WAITS), initial=(container("setup", PULLS),)),
            Status.IMAGE_PULL_BACK_OFF, "ImagePullBackOff", 'the init container setup: Back-off pulling image "x"',
            id="an init container without an image",
        ),
        pytest.param(
            make_pod(
                "Pending", container("fib", WAITS),
                initial=(container("setup", "ended: 0"), sidecar("mesh", PULLS), container("last", WAITS)),
            ),
            Status.IMAGE_PULL_BACK_OFF, "ImagePullBackOff", 'the sidecar mesh: Back-off pulling image "x"',
            id="a sidecar between init containers without an image",
        ),
        pytest.param(
            make_pod(
                "Pending", container("fib", WAITS), policy="OnFailure",
                initial=(container(
                    "setup", "waiting: CrashLoopBackOff: back-off 20s", lastState={"terminated": end("2")}),),
            ),
            Status.PENDING, "CrashLoopBackOff",
            "the init container setup: back-off 20s; it has ended with exit code 2", id="an init container crashes",
        ),
        pytest.param(
            make_pod("Pending", container("fib", CREATES), initial=(container("setup", "ended: 0"),)),
            Status.PENDING, "ContainerCreating", "ContainerCreating", id="its init containers have ended",
        ),
    ],
)  # fmt: skip
def test_build_view__tells_which_container_does_what(pod: Json, status: Status, reason: str, message: str) -> None:
    view = view_of(pod)
    assert (view.status, view.reason, view.message) == (status, reason, message)


@pytest.mark.parametrize(
    ("pod", "exit_code", "message"),
    [
        pytest.param(
            make_pod("Failed", container("fib", "ended: 0"), container("proxy", "ended: 137 OOMKilled")), 0,
            "the last pod that failed: ContainerFailed; the container proxy has ended with exit code 137 (OOMKilled); "
            "the container that ended last had exit code 0", id="another container",
        ),
        pytest.param(
            make_pod(
                "Failed", container("fib", "ended: 0"), container("proxy", "ended: 1", message="no route\n")), 0,
            "the last pod that failed: ContainerFailed; the container proxy has ended with exit code 1: no route; "
            "the container that ended last had exit code 0", id="another container, with a message",
        ),
        pytest.param(
            make_pod("Failed", container("fib", "ended: 137 OOMKilled"), container("proxy", "ended: 2")), 137,
            "the container that ended last had exit code 137 (OOMKilled)", id="both",
        ),
        pytest.param(
            make_pod("Failed", container("fib", "ended: 3"), initial=(sidecar("mesh", "ended: 143"),)), 3,
            "the container that ended last had exit code 3", id="how a sidecar ends does not count",
        ),
        pytest.param(
            make_pod("Failed", container("fib", WAITS), initial=(
                sidecar("mesh", "ended: 143"), container("setup", "ended: 2", message="no bucket"))), -1,
            "the last pod that failed: InitContainerFailed; "
            "the init container setup has ended with exit code 2: no bucket", id="an init container",
        ),
        pytest.param(
            make_pod("Failed", container("fib", WAITS), initial=(container("setup", "ended: 137 OOMKilled"),)), -1,
            "the last pod that failed: InitContainerFailed; "
            "the init container setup has ended with exit code 137 (OOMKilled)", id="an init container was killed",
        ),
    ],
)  # fmt: skip
def test_build_view__of_a_failed_run_names_the_container_that_failed(pod: Json, exit_code: int, message: str) -> None:
    view = view_of(pod, **FAILED)
    assert (view.status, view.exit_code) == (Status.FAILED, exit_code)
    assert view.message == f"limit reached; {message}"


def test_build_view__counts_only_restarts_of_the_runs_container_as_attempts() -> None:
    pod = make_pod(
        "Running",
        container("fib", "running", restartCount=1),
        container("proxy", "running", restartCount=5),
        initial=(sidecar("mesh", "running", restartCount=7), container("setup", "ended: 0", restartCount=3)),
        policy="OnFailure",
    )
    assert view_of(pod).attempts == 2


@pytest.mark.parametrize(
    ("policy", "spec", "state", "over"),
    [
        ("Never", {}, "ended: 1", True),
        ("Never", {"spec_restartPolicy": "OnFailure"}, "ended: 1", False),
        ("Never", {"spec_restartPolicy": "OnFailure"}, "ended: 0", True),
        ("OnFailure", {"spec_restartPolicy": "Never"}, "ended: 1", True),
        ("Never", {"spec_restartPolicy": "Never", "spec_restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}, "ended: 42", False),
        ("Never", {"spec_restartPolicy": "Never", "spec_restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]}, "ended: 42", True),
        ("OnFailure", {}, "running", False),
        ("Never", {}, PULLS, False),
    ],
)  # fmt: skip
def test_read_attempt__is_over_by_the_containers_own_policy_and_rules_first(
    policy: str, spec: Json, state: str, over: bool
) -> None:
    assert read_attempt(make_pod("Running", container("fib", state, **spec), policy=policy)).over is over


def initialization_of(*initial: tuple[Json, Json], policy: str = "Never") -> tuple[bool, int]:
    """Return whether init containers do their work, and seconds after the pod since which it waits otherwise."""
    attempt = read_attempt(make_pod("Pending", container("fib", WAITS), initial=initial, policy=policy))
    return attempt.initializing, (attempt.pending_since - CREATED_AT) // SECOND


CRASHES: Json = {"lastState": {"terminated": end("1", "2026-01-01T00:00:09Z")}, "restartCount": 1}


@pytest.mark.parametrize(
    ("initial", "policy", "initializing", "since"),
    [
        pytest.param([container("setup", CREATES)], "Never", False, 0, id="it is being created"),
        pytest.param([container("setup", PULLS)], "Never", False, 0, id="it has no image"),
        pytest.param([container("setup", "running")], "Never", True, 0, id="it runs"),
        pytest.param(
            [container("setup", "ended: 0"), container("next", PULLS)], "Never", False, 5, id="the next waits"
        ),
        pytest.param([container("setup", "ended: 1")], "Never", False, 5, id="it has failed for good"),
        pytest.param([container("setup", "ended: 1")], "OnFailure", True, 5, id="it has failed and is restarted"),
        pytest.param(
            [container("setup", "waiting: CrashLoopBackOff", **CRASHES)], "OnFailure", True, 0, id="it crashes"
        ),
        pytest.param([sidecar("mesh", "running", started=False)], "Never", False, 0, id="a sidecar gets not ready"),
        pytest.param(
            [sidecar("mesh", "waiting: CrashLoopBackOff", **CRASHES)], "Never", False, 0, id="it crashes, too"
        ),
        pytest.param([sidecar("mesh", "ended: 0"), container("s", PULLS)], "Never", False, 0, id="it is restarted"),
        pytest.param(
            [sidecar("mesh", "running"), container("s", "running")], "Never", True, 0, id="one beside it runs"
        ),
    ],
)
def test_read_attempt__is_initializing_while_an_init_container_works(
    initial: list[tuple[Json, Json]], policy: str, initializing: bool, since: int
) -> None:
    assert initialization_of(*initial, policy=policy) == (initializing, since)


@pytest.mark.parametrize("finished", [None, "", "yesterday", "2026-01-01T00:00:05", "9" * 100])
def test_read_attempt__waits_since_the_pod_was_made_where_an_end_has_no_time(finished: Any) -> None:
    setup = container("setup", "ended: 0")
    setup[1]["state"]["terminated"]["finishedAt"] = finished
    assert initialization_of(setup) == (False, 0)


def attempt_of(pod: Json, name: str) -> Attempt:
    attempt = read_attempt(pod, name)
    assert attempt.container == name
    return attempt


def test_read_attempt__may_be_of_another_container() -> None:
    """For its log."""
    setup = container("setup", "ended: 0", restartCount=2, lastState={"terminated": end("1")})
    pod = make_pod("Running", container("fib", "running"), container("proxy", PULLS), initial=(setup,))
    found = attempt_of(pod, "setup")
    assert (found.running, found.restarts, found.over) == (False, 2, True)
    assert found.ending is not None
    assert found.ending.exit_code == 0
    waiting = attempt_of(pod, "proxy").waiting_reason
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("ImagePullBackOff", 'Back-off pulling image "x"')
    assert not attempt_of(pod, "missing").has_started


def test_read_attempt__names_the_init_container_that_a_later_one_waits_for() -> None:
    pod = make_pod("Pending", container("fib", WAITS), initial=(container("one", "running"), container("two", WAITS)))
    waiting = attempt_of(pod, "two").waiting_reason
    assert waiting is not None
    assert waiting.message == "the init container one has not ended yet"
