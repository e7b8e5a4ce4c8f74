"""The pod status that follows from the states of its containers."""

from datetime import UTC, datetime

import pytest

from devcluster.node.container import Container, Ended, Waiting, phase_of, pod_status

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
