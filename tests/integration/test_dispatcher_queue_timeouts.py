"""Runs that are queued for too long: they end as Failed without a pod, say why, and take no slot."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.kube import labels
from app.telemetry.metrics import REGISTRY, UNKNOWN
from tests.integration.dispatching import LONG, ClusterFixture, until
from tests.support.faults import Action, Fault, Hold, LoseRequest, LoseResponse, Refuse, Request
from tests.support.observer import Observer
from tests.support.selection import slow

SOON = {labels.QUEUE_TIMEOUT_ANNOTATION: "1"}
LATE = {labels.QUEUE_TIMEOUT_ANNOTATION: "600"}
NEVER = ("never-there",)


def is_timeout(request: Request) -> bool:
    return request.method == "PATCH" and labels.QUEUE_TIMED_OUT_ANNOTATION.encode() in request.body


def reason_of(cluster: ClusterFixture, name: str) -> str:
    """Why a run has failed; empty: it hasn't."""
    conditions = cluster.job(name).status.conditions or ()
    return next((str(found.reason) for found in conditions if found.type == "Failed" and found.status == "True"), "")


def why(cluster: ClusterFixture, name: str) -> str:
    return str((cluster.job(name).metadata.annotations or {}).get(labels.QUEUE_TIMED_OUT_ANNOTATION, ""))


def timeouts(definition: str = "fib") -> float:
    """How many runs the metrics say were ended."""
    return REGISTRY.get_sample_value("slimfaas_jobs_queue_timeouts_total", {"definition": definition}) or 0.0


@pytest.mark.slow
def test_queue_timeout__ends_a_run_without_a_pod(cluster: ClusterFixture, seen: Observer) -> None:
    """It fails, says why in its annotation and in an Event, counts in the metrics, and had no pod and no slot."""
    [running] = cluster.queue(args=LONG)
    [waiting] = cluster.queue(annotations=SOON, depends_on=NEVER)
    before = timeouts()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: waiting in seen.finished)
        until(lambda: "QueueTimeout" in cluster.reasons(waiting))
    assert reason_of(cluster, waiting) == "DeadlineExceeded"
    expected = "was queued for longer than its QueueTimeoutSeconds (1 s); never-there was not ready"
    assert why(cluster, waiting) == expected
    assert timeouts() == before + 1
    assert not seen.pods[waiting]
    assert seen.most_active["fib"] == 1
    assert reason_of(cluster, running) == ""
    assert cluster.count_stored(is_timeout) == 1


@pytest.mark.slow
def test_queue_timeout__counts_runs_of_no_definition_together(cluster: ClusterFixture, seen: Observer) -> None:
    """Whoever may create Jobs chooses the definition in their labels, and no series of metrics is made of each."""
    names = [*cluster.queue("gone-1", annotations=SOON), *cluster.queue("gone-2", annotations=SOON)]
    before = timeouts(UNKNOWN)
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: set(names) <= seen.finished)
        until(lambda: timeouts(UNKNOWN) == before + 2)
    assert timeouts("gone-1") == timeouts("gone-2") == 0


@pytest.mark.slow
def test_queue_timeout__names_the_slots_that_were_missing(cluster: ClusterFixture, seen: Observer) -> None:
    """Runs without a timeout, with a later one, or held by hand stay in the queue."""
    cluster.queue(args=LONG)
    [waiting] = cluster.queue(annotations=SOON)
    others = [*cluster.queue(), *cluster.queue(annotations=LATE)]
    others += cluster.queue(annotations={**SOON, labels.HOLD_ANNOTATION: ""})
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: waiting in seen.finished)
    assert why(cluster, waiting).endswith("; no slot was free")
    assert [why(cluster, name) for name in others] == ["", "", ""]
    assert all(cluster.job(name).spec.suspend for name in others)


@pytest.mark.parametrize(
    "action",
    slow(LoseResponse(), LoseRequest(), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests")),
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'status', '')}",
)
def test_queue_timeout__is_written_again_if_the_write_fails(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """Lost, or refused for the moment."""
    [waiting] = cluster.queue(annotations=SOON, depends_on=NEVER)
    fault = cluster.proxy.add(Fault(action, when=is_timeout, times=2))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: waiting in seen.finished)
    assert cluster.proxy.hits(fault)
    assert reason_of(cluster, waiting) == "DeadlineExceeded"


@contextmanager
def held_timeout(cluster: ClusterFixture) -> Iterator[Hold]:
    """Hold back the write that ends a run."""
    hold = Hold()
    cluster.proxy.add(Fault(hold, when=is_timeout))
    yield hold


def test_queue_timeout__conflicts_with_an_admission_that_landed_first(cluster: ClusterFixture, seen: Observer) -> None:
    """The late write ends nothing: the run has started."""
    cluster.deploy("db", replicas=0)
    [waiting] = cluster.queue(annotations=SOON, depends_on=("db",), args=LONG)
    with held_timeout(cluster) as hold, cluster.dispatching({"fib": 1}):
        hold.wait_held()
        cluster.scale("db", replicas=1)
        until(lambda: cluster.job(waiting).status.active)
        hold.release()
        [late] = cluster.proxy.wait_for(lambda request: is_timeout(request) and request.status is not None)
    assert late.status == 409
    assert not cluster.job(waiting).spec.suspend
    assert cluster.job(waiting).spec.parallelism == 1
    assert reason_of(cluster, waiting) == ""


@pytest.mark.slow
def test_queue_timeout__is_enforced_by_the_next_leader(cluster: ClusterFixture, seen: Observer) -> None:
    """The time counts from what the cluster has written down; an earlier leader's late write conflicts."""
    [waiting] = cluster.queue(annotations=SOON, depends_on=NEVER)
    with held_timeout(cluster) as hold:
        with cluster.dispatching({"fib": 1}):
            hold.wait_held()
        with cluster.dispatching({"fib": 1}):
            seen.wait(lambda: waiting in seen.finished)
        hold.release()
        until(lambda: all(one.status is not None for one in cluster.proxy.requests if is_timeout(one)))
    statuses = sorted(one.status or 0 for one in cluster.proxy.requests if is_timeout(one))
    assert statuses == [200, 409]
    assert not seen.pods[waiting]


@pytest.mark.slow
def test_queue_timeout__of_a_definition_whose_writes_fail_delays_no_other(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """As with a webhook for one kind of Job: the others end, and it is tried less and less often."""
    stuck = cluster.queue("first", count=3, annotations=SOON, depends_on=NEVER)

    def is_meant(request: Request) -> bool:
        return is_timeout(request) and "/first-" in request.path

    failing = cluster.proxy.add(Fault(Refuse(500, "InternalError"), when=is_meant, times=None))
    with cluster.dispatching({"first": 1, "second": 1}):
        until(lambda: cluster.proxy.hits(failing) == 2)
        others = cluster.queue("second", count=2, annotations=SOON, depends_on=NEVER)
        seen.wait(lambda: seen.finished >= set(others))
        assert cluster.proxy.hits(failing) < 8
        cluster.proxy.remove(failing)
        seen.wait(lambda: seen.finished >= set(stuck))


@pytest.mark.slow
def test_queue_timeout__of_one_run_that_is_refused_delays_no_other(cluster: ClusterFixture, seen: Observer) -> None:
    [refused, other] = cluster.queue(count=2, annotations=SOON, depends_on=NEVER)

    def is_meant(request: Request) -> bool:
        return is_timeout(request) and refused in request.path

    cluster.proxy.add(Fault(Refuse(422, "Invalid"), when=is_meant, times=None))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
    assert cluster.job(refused).spec.suspend


@pytest.mark.slow
def test_queue_timeout__costs_no_call_before_its_time(cluster: ClusterFixture, seen: Observer) -> None:
    cluster.queue(annotations=LATE, depends_on=NEVER)
    [ended] = cluster.queue("other", annotations=SOON, depends_on=NEVER)
    with cluster.dispatching({"fib": 1, "other": 1}):
        seen.wait(lambda: ended in seen.finished)
    assert all(ended in one.path for one in cluster.proxy.requests if is_timeout(one))
