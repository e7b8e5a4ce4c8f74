"""The pod status that follows from the states of its containers."""

from datetime import UTC, datetime

import pytest

from devcluster.node.container import Container, Ended, Waiting
from devcluster.node.pod_lifecycle import count_startable, has_failed_to_initialize, is_done, phase_of, pod_status
from devcluster.objects import Object
from devcluster.restarts import restarts_after

RULE: Object = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
NOT_IN: Object = {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make(state: str, name: str = "c") -> Container:
    """Make a container: `creating`, `running`, `looping` (waits after a failure), or an exit code."""
    container = Container({"name": name, "image": "busybox:1"})
    if state == "running":
        container.waiting, container.started_at, container.is_ready = None, 0.0, True
    elif state == "looping":
        container.waiting, container.last = Waiting("CrashLoopBackOff", "x"), ended(1)
    elif state != "creating":
        container.waiting, container.ended = None, ended(int(state))
    return container


def make_init(state: str, name: str = "setup", **spec: str) -> Container:
    """Make an init container in one of the states of `make`."""
    container = make(state, name)
    container.is_init, container.spec = True, {**container.spec, **spec}
    return container


def make_sidecar(state: str, name: str = "proxy") -> Container:
    """Make a sidecar in one of the states of `make`, or `started`: it runs, and its startup probe has succeeded."""
    container = make_init("running" if state == "started" else state, name, restartPolicy="Always")
    container.is_started = container.has_initialized = state == "started"
    container.is_ready = state == "started"
    return container


def ended(code: int) -> Ended:
    return Ended(code, "Error" if code else "Completed", "", 0.0, 60.0, "id")


@pytest.mark.parametrize(
    ("states", "policy", "phase"),
    [
        (["creating"], "Never", "Pending"),
        (["running", "creating"], "Never", "Pending"),
        (["running"], "Never", "Running"),
        (["running", "1"], "Never", "Running"),
        (["0"], "Never", "Succeeded"),
        (["0", "1"], "Never", "Failed"),
        (["0"], "OnFailure", "Succeeded"),
        (["1"], "OnFailure", "Running"),
        (["looping"], "OnFailure", "Running"),
        (["0"], "Always", "Running"),
        (["looping"], "Always", "Running"),
    ],
)
def test_phase_of__matches_the_kubelet(states: list[str], policy: str, phase: str) -> None:
    """`getPhase` of the kubelet."""
    assert phase_of([make(state) for state in states], policy, is_over=False) == phase


@pytest.mark.parametrize(
    ("states", "phase"), [(["0"], "Succeeded"), (["143"], "Failed"), (["creating"], "Failed"), (["looping"], "Failed")]
)
def test_phase_of__is_terminal_when_nothing_restarts(states: list[str], phase: str) -> None:
    """A deleted pod of a Deployment does not stay Running."""
    assert phase_of([make(state) for state in states], "Always", is_over=True) == phase


@pytest.mark.parametrize(
    ("containers", "count"),
    [
        ([make_init("creating"), make("creating")], 1),
        ([make_init("running"), make("creating")], 1),
        ([make_init("1"), make_init("creating", "next"), make("creating")], 1),
        ([make_init("looping"), make_init("creating", "next"), make("creating")], 1),
        ([make_init("0"), make_init("creating", "next"), make("creating")], 2),
        ([make_init("0"), make_init("0", "next"), make("creating"), make("creating", "d")], 4),
        ([make_sidecar("running"), make("creating")], 1),
        ([make_sidecar("started"), make("creating")], 2),
        ([make_sidecar("started"), make_init("running"), make("creating")], 2),
        ([make_sidecar("looping"), make("running"), make("creating", "d")], 3),  # initialized once and for all
        ([make("creating"), make("creating", "d")], 2),
    ],
)
def test_count_startable__starts_init_containers_one_by_one(containers: list[Container], count: int) -> None:
    assert count_startable(containers) == count


@pytest.mark.parametrize(
    ("containers", "policy", "phase"),
    [
        ([make_init("running"), make("creating")], "Never", "Pending"),
        ([make_init("1"), make("creating")], "OnFailure", "Pending"),
        ([make_init("looping"), make("creating")], "Always", "Pending"),
        ([make_init("1"), make("creating")], "Never", "Failed"),
        ([make_init("1", restartPolicy="Never"), make("creating")], "Always", "Failed"),
        ([make_init("1"), make_sidecar("started"), make("creating")], "Never", "Pending"),  # until it has ended
        ([make_init("0"), make("running")], "Never", "Running"),
        ([make_init("0"), make("0")], "Never", "Succeeded"),
        ([make_sidecar("running"), make("creating")], "Never", "Pending"),
        ([make_sidecar("started"), make("running")], "Never", "Running"),
        ([make_sidecar("started"), make("0")], "Never", "Running"),
        ([make_sidecar("looping"), make("running")], "Never", "Running"),
        ([make_sidecar("143"), make("0")], "Never", "Succeeded"),
        ([make_sidecar("0"), make("3")], "Never", "Failed"),
        ([make_sidecar("creating"), make("0")], "Never", "Pending"),
    ],
)
def test_phase_of__counts_init_containers_and_sidecars_as_the_kubelet(
    containers: list[Container], policy: str, phase: str
) -> None:
    """How a sidecar ends does not count."""
    assert phase_of(containers, policy, is_over=False) == phase


@pytest.mark.parametrize(
    ("container", "policy", "has_failed"),
    [
        (make_init("1"), "Never", True),
        (make_init("1"), "OnFailure", False),
        (make_init("1", restartPolicy="OnFailure"), "Never", False),
        (make_init("0"), "Never", False),
        (make_init("running"), "Never", False),
        (make_sidecar("1"), "Never", False),
        (make("1"), "Never", False),
    ],
)
def test_has_failed_to_initialize__is_of_init_containers_that_are_not_restarted(
    container: Container, policy: str, has_failed: bool
) -> None:
    assert has_failed_to_initialize([container, make("creating", "d")], policy) == has_failed


@pytest.mark.parametrize(
    ("states", "policy", "done"),
    [
        (["0", "1"], "Never", True),
        (["0", "running"], "Never", False),
        (["0", "creating"], "Never", False),
        (["0", "1"], "OnFailure", False),
        (["0", "0"], "OnFailure", True),
        (["0", "0"], "Always", False),
    ],
)
def test_is_done__waits_for_every_regular_container(states: list[str], policy: str, done: bool) -> None:
    assert is_done([make_sidecar("started"), *map(make, states)], policy) == done


def test_pod_status__says_which_init_containers_are_incomplete() -> None:
    containers = [make_sidecar("started"), make_init("0"), make_sidecar("running", "late"), make("creating")]
    pod = {"metadata": {"uid": "u"}}
    status = pod_status({}, containers, pod=pod, phase="Pending", ip="127.64.0.1", host_ip="127.0.0.1", now=NOW)
    assert [(one["name"], one["ready"], one["started"]) for one in status["initContainerStatuses"]] == [
        ("proxy", True, True),
        ("setup", True, False),
        ("late", False, False),
    ]
    found = {one["type"]: (one["status"], one.get("message")) for one in status["conditions"]}
    assert found["Initialized"] == ("False", "containers with incomplete status: [late]")
    assert found["Ready"] == ("False", "containers with unready status: [late c]")


@pytest.mark.parametrize(
    ("spec", "code", "policy", "restarts"),
    [
        ({}, 1, "Never", False),
        ({}, 1, "OnFailure", True),
        ({"restartPolicy": "Never"}, 1, "Always", False),
        ({"restartPolicy": "Always"}, 0, "Never", True),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE]}, 42, "Never", True),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE]}, 43, "Never", False),
        ({"restartPolicy": "Never", "restartPolicyRules": [NOT_IN]}, 43, "Never", True),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE | {"action": "RestartAllContainers"}]}, 42, "Never", 0),
    ],
)
def test_restarts_after__follows_the_containers_own_rules_first(
    spec: dict[str, object], code: int, policy: str, restarts: bool
) -> None:
    assert restarts_after(spec, code, policy) == restarts


def test_pod_status__changes_transition_time_only_with_the_status() -> None:
    """`lastTransitionTime` is when a pod became ready, not when its status was last written."""
    pod = {"metadata": {"uid": "u"}}

    def status(old: dict[str, object], container: Container, at: datetime) -> dict[str, object]:
        phase = phase_of([container], "Always", is_over=False)
        return pod_status(old, [container], pod=pod, phase=phase, ip="127.64.0.1", host_ip="127.0.0.1", now=at)

    first = status({}, make("creating"), NOW)
    ready = status(first, make("running"), NOW.replace(hour=1))
    again = status(ready, make("running"), NOW.replace(hour=2))
    assert again == ready
    times = {found["type"]: found["lastTransitionTime"] for found in ready["conditions"]}  # type: ignore[attr-defined]  # a list
    assert times["Ready"] == "2026-01-01T01:00:00Z"
    assert times["PodScheduled"] == times["Initialized"] == "2026-01-01T00:00:00Z"


def test_to_status__shows_the_last_run_while_waiting() -> None:
    """`state` says why it waits, `lastState` how it ended."""
    status = make("looping").to_status("u")
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert status["containerID"] == "id"
