"""When an admitted run counts as one that doesn't start."""

import pytest

from app.dispatcher.start_deadline import find_start_deadline
from app.domain.attempt import Attempt, Termination, WaitingReason
from app.domain.run import PendingStart

SECOND = 1_000_000
T0 = 1_000 * SECOND
AWAITED = PendingStart(T0, 60, has_failed=False)
RETRIED = PendingStart(T0, 60, has_failed=True)
PULLING = WaitingReason("ImagePullBackOff", 'Back-off pulling image "x:1"')


def attempt(
    phase: str = "Pending",
    *,
    made: int = 0,
    running: bool = False,
    restarts: int = 0,
    trouble: WaitingReason | None = None,
    ended: int | None = None,
) -> Attempt:
    ending = None if ended is None else Termination(1, "Error", "", T0 + ended * SECOND)
    return Attempt("uid", f"pod-{made}", T0 + made * SECOND, phase, running, restarts, trouble, ending)


def due_after(awaited: PendingStart, *attempts: Attempt) -> float | None:
    """Seconds from the start of the Job."""
    found = find_start_deadline(awaited, attempts)
    return None if found is None else (found.due - T0) / SECOND


@pytest.mark.parametrize(
    ("awaited", "attempts", "seconds"),
    [
        pytest.param(AWAITED, [attempt()], 60, id="its first pod waits: from the start of the Job"),
        pytest.param(AWAITED, [attempt(made=5)], 65, id="a pod that could be made late has its time, too"),
        pytest.param(AWAITED, [attempt(made=-1)], 60, id="times are whole seconds: a pod may seem older than its Job"),
        pytest.param(AWAITED, [], 60, id="no pod at all"),
        pytest.param(AWAITED, [attempt("Running")], 60, id="a sidecar runs, its own container doesn't"),
        pytest.param(AWAITED, [attempt("Running", running=True)], None, id="it runs"),
        pytest.param(AWAITED, [attempt("Running", restarts=1)], None, id="it has run and is restarted"),
        pytest.param(AWAITED, [attempt("Running", ended=3)], None, id="it has run and waits to be restarted"),
        pytest.param(AWAITED, [attempt("Succeeded", ended=3)], None, id="it has come to its end"),
        pytest.param(RETRIED, [attempt("Failed", ended=100)], 760, id="Kubernetes' pause before a retry doesn't count"),
        pytest.param(RETRIED, [attempt("Failed")], None, id="nobody knows when it failed"),
        pytest.param(RETRIED, [], None, id="its failed pods are gone"),
        pytest.param(RETRIED, [attempt("Failed", ended=9), attempt(made=200)], 260, id="a retry has its own time"),
        pytest.param(RETRIED, [attempt("Failed"), attempt("Running", made=9, running=True)], None, id="a retry runs"),
    ],
)
def test_until_when_a_run_must_have_started(
    awaited: PendingStart, attempts: list[Attempt], seconds: float | None
) -> None:
    """`None`: nothing is waited for, as far as anybody can tell."""
    assert due_after(awaited, *attempts) == seconds


@pytest.mark.parametrize(
    ("attempts", "words"),
    [
        ([attempt(trouble=PULLING)], 'ImagePullBackOff: Back-off pulling image "x:1"'),
        ([attempt(trouble=WaitingReason("Unschedulable", "0/3 nodes are available"))], "Unschedulable: 0/3 nodes"),
        ([attempt(trouble=WaitingReason("ContainerCreating", ""))], "60 s: ContainerCreating"),
        ([attempt()], "nobody has said why"),
        ([], "no pod could be made within 60 s (a quota, a missing ServiceAccount, or a policy)"),
    ],
)
def test_what_has_kept_it_is_said(attempts: list[Attempt], words: str) -> None:
    """In the words of the scheduler or the kubelet, where they gave any."""
    found = find_start_deadline(AWAITED, attempts)
    assert found is not None
    assert words in found.why
