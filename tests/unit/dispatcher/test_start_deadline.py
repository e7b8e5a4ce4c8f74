"""When an admitted run counts as one that doesn't start."""

import pytest

from app.dispatcher.start_deadline import StartError, describe_start_error, find_start_deadline, find_start_error
from app.domain.attempt import Attempt, Termination, WaitingReason
from app.domain.run import PendingStart

SECOND = 1_000_000
T0 = 1_000 * SECOND
AWAITED = PendingStart(T0, 60, has_failed=False)
SHORT = PendingStart(T0, 1, has_failed=False)
RETRIED = PendingStart(T0, 60, has_failed=True)
NOW = T0 + 500 * SECOND
PULLING = WaitingReason("ImagePullBackOff", 'Back-off pulling image "x:1"')


def attempt(
    phase: str = "Pending",
    *,
    made: int = 0,
    running: bool = False,
    restarts: int = 0,
    waiting_reason: WaitingReason | None = None,
    ended: int | None = None,
    initializing: bool = False,
    initialized: int | None = None,
) -> Attempt:
    """Make an attempt; times are seconds from the start of the Job, `initialized` that of its last init container."""
    ending = None if ended is None else Termination(1, "Error", "", T0 + ended * SECOND)
    return Attempt(
        "uid",
        f"pod-{made}",
        T0 + made * SECOND,
        phase,
        running,
        restarts,
        waiting_reason,
        ending,
        initializing=initializing,
        pending_since=T0 + (made if initialized is None else initialized) * SECOND,
    )


def due_after(awaited: PendingStart, *attempts: Attempt) -> float | None:
    """Seconds from the start of the Job."""
    found = find_start_deadline(awaited, attempts, NOW)
    return None if found is None else (found.due - T0) / SECOND


@pytest.mark.parametrize(
    ("awaited", "attempts", "seconds"),
    [
        pytest.param(AWAITED, [attempt()], 60, id="its first pod waits: from the start of the Job"),
        pytest.param(AWAITED, [attempt(made=5)], 65, id="a pod that could be made late has its time, too"),
        pytest.param(AWAITED, [attempt(made=-1)], 60, id="times are whole seconds: a pod may seem older than its Job"),
        pytest.param(AWAITED, [], 60, id="no pod at all"),
        pytest.param(AWAITED, [attempt("Running")], 60, id="a sidecar runs, its own container doesn't"),
        pytest.param(AWAITED, [attempt(initializing=True)], 560, id="an init container runs: look again"),
        pytest.param(SHORT, [attempt(initializing=True)], 510, id="an init container runs: don't look all the time"),
        pytest.param(AWAITED, [attempt(initialized=480)], 540, id="its init containers have ended"),
        pytest.param(AWAITED, [attempt(made=9, initialized=8)], 69, id="a node's clock is slow"),
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
def test_find_start_deadline__counts_from_admission_or_the_last_attempt(
    awaited: PendingStart, attempts: list[Attempt], seconds: float | None
) -> None:
    """`None`: nothing is waited for, as far as anybody can tell."""
    assert due_after(awaited, *attempts) == seconds


@pytest.mark.parametrize(
    ("attempts", "words"),
    [
        ([attempt(waiting_reason=PULLING)], 'ImagePullBackOff: Back-off pulling image "x:1"'),
        (
            [attempt(waiting_reason=WaitingReason("Unschedulable", "0/3 nodes are available"))],
            "Unschedulable: 0/3 nodes",
        ),
        ([attempt(waiting_reason=WaitingReason("ContainerCreating", ""))], "60 s: ContainerCreating"),
        ([attempt(initialized=9, waiting_reason=PULLING)], "within 60 s after its init containers: ImagePullBackOff"),
        ([attempt()], "the cluster gives no reason"),
        ([], "no pod could be made within 60 s (a quota, a missing ServiceAccount, or a policy)"),
    ],
)
def test_find_start_deadline__names_what_has_kept_the_run(attempts: list[Attempt], words: str) -> None:
    """In the words of the scheduler or the kubelet, where they gave any."""
    found = find_start_deadline(AWAITED, attempts, NOW)
    assert found is not None
    assert words in found.why
    assert found.has_pod is bool(attempts)


@pytest.mark.parametrize(
    "reason",
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"],
)
def test_find_start_error__remembers_since_when_a_pod_has_an_error(reason: str) -> None:
    """The kubelet does not write it. Another pod begins anew."""
    failing = attempt(waiting_reason=WaitingReason(reason, "why"))
    found = find_start_error([failing], None, T0)
    assert found == StartError("pod-0", T0, T0)
    assert find_start_error([failing], found, T0 + SECOND) == found
    later = attempt(made=9, waiting_reason=WaitingReason("ImagePullBackOff", ""))
    assert find_start_error([attempt("Failed"), later], found, T0 + SECOND) == StartError(
        "pod-9", T0 + 9 * SECOND, T0 + SECOND
    )


def test_find_start_error__begins_anew_when_an_init_container_has_ended() -> None:
    """What comes next has its own time."""
    known = find_start_error([attempt(waiting_reason=PULLING)], None, T0)
    later = find_start_error([attempt(initialized=9, waiting_reason=PULLING)], known, T0 + 10 * SECOND)
    assert later == StartError("pod-0", T0 + 9 * SECOND, T0 + 10 * SECOND)


@pytest.mark.parametrize(
    "attempts",
    [
        pytest.param([], id="no pod"),
        pytest.param([attempt()], id="nobody has said why"),
        pytest.param([attempt(waiting_reason=WaitingReason("Unschedulable", "0/3 nodes"))], id="no node"),
        pytest.param([attempt(waiting_reason=WaitingReason("ContainerCreating", ""))], id="a slow pull"),
        pytest.param([attempt(initializing=True, waiting_reason=PULLING)], id="an init container is restarted"),
        pytest.param([attempt("Running", running=True)], id="it runs"),
        pytest.param([attempt("Running", restarts=1, waiting_reason=PULLING)], id="it has run"),
        pytest.param([attempt("Failed", waiting_reason=PULLING)], id="the pod has failed"),
    ],
)
def test_find_start_error__is_none_for_what_time_may_mend(attempts: list[Attempt]) -> None:
    assert find_start_error(attempts, StartError("pod-0", T0, T0), T0 + SECOND) is None


def test_describe_start_error__names_the_setting_and_the_kubelets_words() -> None:
    told = describe_start_error(
        [attempt(waiting_reason=PULLING)], StartError("pod-0", T0, T0), T0 + 300 * SECOND, limit_seconds=600
    )
    assert "for at least 300 s (SLIMFAAS_START_ERROR_TIMEOUT_SECONDS is 600)" in told
    assert told.endswith('ImagePullBackOff: Back-off pulling image "x:1"')
