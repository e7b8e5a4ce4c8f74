"""Cancelling runs while a dispatcher admits them, and while the connection to the API server fails."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.domain.names import id_in
from app.runs.cancel import Canceller, EmptyResult
from app.runs.deletion import CancelFailedError
from app.runs.reader import RunReader, UnknownRunError
from app.runs.retry_budget import RetryPolicy
from schemas.run import RunView, Status
from tests.integration.dispatching import LONG, ClusterFixture, until
from tests.support.clock import Clock
from tests.support.faults import Action, Fault, FaultProxy, Hold, LoseRequest, LoseResponse, Refuse, Truncate
from tests.support.observer import Observer
from tests.support.waiting import DEADLINE_SECONDS

SLOTS = {"fib": 1}


@pytest.fixture
def canceller(cluster: ClusterFixture) -> Canceller:
    """A canceller that uses the cluster's proxy, with retries that wait no time."""
    namespace = cluster.connect()
    runs = RunReader(namespace, lambda: SLOTS)
    return Canceller(namespace, runs, retry_policy=RetryPolicy(sleep=lambda _seconds: None))


def cancel(canceller: Canceller, name: str) -> RunView:
    return canceller.cancel("fib", id_in("fib", name))


def deletions(cluster: ClusterFixture) -> list[bytes]:
    return [request.body for request in cluster.proxy.requests if request.method == "DELETE"]


def names(cluster: ClusterFixture) -> set[str]:
    return {job.metadata.name for job in cluster.batch.list_namespaced_job(cluster.namespace).items}


def test_cancel__deletes_a_queued_run_at_once(cluster: ClusterFixture, canceller: Canceller) -> None:
    [name] = cluster.queue()
    view = cancel(canceller, name)
    assert (view.status, view.reason, view.position_in_queue) == (Status.QUEUED, "Deleting", -1)
    assert names(cluster) == set()
    with pytest.raises(UnknownRunError):
        cancel(canceller, name)


def test_cancel__frees_the_slot_of_an_active_run_only_when_its_pod_is_gone(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    """A dispatcher and two queued runs wait for the slot; there are never two pods."""
    running = cluster.queue(args=LONG)
    waiting = cluster.queue(count=2)
    with cluster.dispatching(SLOTS):
        seen.wait(lambda: bool(seen.pods.get(running[0])))
        first = cancel(canceller, running[0])
        seen.wait(lambda: seen.finished >= set(waiting))
    assert first.status in (Status.PENDING, Status.RUNNING)
    assert first.reason == "Deleting"
    assert running[0] in seen.gone
    assert seen.most_active["fib"] == 1
    assert seen.most_pods["fib"] == 1


def test_cancel__sends_no_second_delete_for_a_run_that_is_being_deleted(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    """Each request gets the run's state until the run is gone."""
    [name] = cluster.queue(args=LONG)
    with cluster.dispatching(SLOTS):
        seen.wait(lambda: bool(seen.pods.get(name)))
    pod = cluster.core.list_namespaced_pod(cluster.namespace).items[0].metadata.name
    finalizers = {"metadata": {"finalizers": ["tests.example/hold"]}}
    cluster.batch.patch_namespaced_job(name, cluster.namespace, finalizers)
    cancel(canceller, name)
    again = cancel(canceller, name)
    assert again.reason in ("Deleting", "BackoffLimitExceeded")  # the latter once its pod has been killed
    assert len(deletions(cluster)) == 1
    # Once the garbage collector has removed its finalizer, only the one of this test holds the Job.
    until(lambda: cluster.job(name).metadata.finalizers == ["tests.example/hold"])
    assert pod not in {one.metadata.name for one in cluster.core.list_namespaced_pod(cluster.namespace).items}
    cluster.batch.patch_namespaced_job(name, cluster.namespace, {"metadata": {"finalizers": None}})
    seen.wait(lambda: name in seen.gone)
    with pytest.raises(UnknownRunError):
        cancel(canceller, name)


def test_cancel__returns_the_end_of_a_finished_run(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    [name] = cluster.queue()
    with cluster.dispatching(SLOTS):
        seen.wait(lambda: name in seen.finished)
    view = cancel(canceller, name)
    assert (view.status, view.exit_code) == (Status.SUCCEEDED, 0)
    assert names(cluster) == set()


@pytest.mark.parametrize(
    "action",
    [LoseResponse(), LoseRequest(), Truncate(10), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests")],
)
def test_cancel__succeeds_where_a_delete_failed_or_its_response_was_lost(
    cluster: ClusterFixture, canceller: Canceller, action: Action
) -> None:
    [name] = cluster.queue()
    fault = cluster.proxy.add(Fault(action, method="DELETE"))
    assert cancel(canceller, name).name == name
    assert cluster.proxy.hits(fault) == 1
    assert names(cluster) == set()


def test_cancel__says_whether_the_outcome_is_unknown_where_every_delete_fails(
    cluster: ClusterFixture, canceller: Canceller
) -> None:
    [name] = cluster.queue()
    refusal = cluster.proxy.add(Fault(Refuse(429, "TooManyRequests"), method="DELETE", times=None))
    with pytest.raises(CancelFailedError) as refused:
        cancel(canceller, name)
    assert not refused.value.outcome_unknown
    cluster.proxy.remove(refusal)
    cluster.proxy.add(Fault(LoseRequest(), method="DELETE", times=None))
    with pytest.raises(CancelFailedError) as lost:
        cancel(canceller, name)
    assert lost.value.outcome_unknown
    assert names(cluster) == {name}


def test_cancel__gives_up_after_a_few_conflicts(cluster: ClusterFixture, canceller: Canceller) -> None:
    """The last attempt names no version of the run."""
    [name] = cluster.queue()
    conflict = cluster.proxy.add(Fault(Refuse(409, "Conflict"), method="DELETE", times=None))
    with pytest.raises(CancelFailedError):
        cancel(canceller, name)
    assert 2 <= cluster.proxy.hits(conflict) <= 8
    assert b"resourceVersion" not in deletions(cluster)[-1]
    assert b"Foreground" in deletions(cluster)[-1]


def test_cancel__deletes_in_the_foreground_where_the_run_is_admitted_before_the_delete_arrives(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    """The delete of the queued run conflicts; the run is read again, and has a pod."""
    [name] = cluster.queue(args=LONG)
    behind = cluster.queue()
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="DELETE"))
    with FaultProxy(cluster.server.url, ca=cluster.server.ca_file) as other, ThreadPoolExecutor(1) as caller:
        future = caller.submit(cancel, canceller, name)
        hold.wait_held()
        with cluster.dispatching(SLOTS, proxy=other):
            seen.wait(lambda: bool(seen.pods.get(name)))
            hold.release()
            assert future.result(DEADLINE_SECONDS).reason == "Deleting"
            seen.wait(lambda: seen.finished >= set(behind))
    assert b"Background" in deletions(cluster)[0]
    assert b"Foreground" in deletions(cluster)[-1]
    assert name in seen.gone
    assert seen.most_pods["fib"] == 1


def test_cancel__starts_no_pod_where_an_admission_arrives_after_the_delete(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    [name] = cluster.queue()
    hold = Hold()
    with FaultProxy(cluster.server.url, ca=cluster.server.ca_file) as other:
        other.add(Fault(hold, method="PATCH"))
        with cluster.dispatching(SLOTS, proxy=other):
            hold.wait_held()
            assert cancel(canceller, name).status is Status.QUEUED
            hold.release()
            [behind] = cluster.queue()
            seen.wait(lambda: behind in seen.finished)
    assert name not in seen.starts
    assert seen.pods.get(name) is None


def test_cancel__spares_a_later_run_of_the_same_name_where_the_delete_arrives_late(
    cluster: ClusterFixture, canceller: Canceller
) -> None:
    """The later run has another uid."""
    [name] = cluster.queue()
    job = cluster.job(name)
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="DELETE"))
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(cancel, canceller, name)
        hold.wait_held()
        cluster.delete(name)
        job.metadata.resource_version = job.metadata.uid = job.metadata.creation_timestamp = job.status = None
        job.metadata.managed_fields = job.spec.selector = None
        for label in ("batch.kubernetes.io/controller-uid", "controller-uid"):
            job.spec.template.metadata.labels.pop(label, None)
        cluster.batch.create_namespaced_job(cluster.namespace, job)
        hold.release()
        with pytest.raises(UnknownRunError):
            future.result(DEADLINE_SECONDS)
    assert names(cluster) == {name}


@pytest.mark.parametrize("action", [None, LoseResponse(), LoseRequest(), Refuse(503, "ServiceUnavailable")])
def test_empty__deletes_and_counts_each_queued_run_once(
    cluster: ClusterFixture, canceller: Canceller, action: Action | None
) -> None:
    """Some requests or responses are lost; runs of other definitions stay."""
    cluster.queue(count=12)
    others = cluster.queue("other", count=2)
    if action is not None:
        cluster.proxy.add(Fault(action, method="DELETE", every=4, times=3))
    assert canceller.empty("fib") == EmptyResult(deleted=12, remaining=0)
    assert canceller.empty("fib") == EmptyResult(deleted=0, remaining=0)
    assert names(cluster) == set(others)


def test_empty__leaves_a_run_alone_that_is_admitted_meanwhile(
    cluster: ClusterFixture, seen: Observer, canceller: Canceller
) -> None:
    """It was listed as queued, and has started since."""
    [name] = cluster.queue(args=LONG)
    cluster.queue(count=3)
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="DELETE", path=name))
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(canceller.empty, "fib")
        hold.wait_held()
        cluster.suspend(name, False)  # what an admission does; the call that is held has only seconds
        hold.release()
        assert future.result(DEADLINE_SECONDS) == EmptyResult(deleted=3, remaining=0)
    assert names(cluster) == {name}
    assert cluster.job(name).metadata.deletion_timestamp is None


def test_empty__says_how_many_runs_remain_when_its_time_is_up(cluster: ClusterFixture) -> None:
    namespace = cluster.connect()
    runs = RunReader(namespace, lambda: SLOTS)
    seconds = iter(range(0, 1000, 2))
    canceller = Canceller(namespace, runs, clock=lambda: float(next(seconds)))
    cluster.queue(count=12)
    emptied = canceller.empty("fib")
    assert emptied.deleted > 0
    assert emptied.remaining > 0
    assert emptied.deleted + emptied.remaining == 12
    assert len(names(cluster)) == emptied.remaining


def test_empty__does_not_count_the_time_that_the_list_takes(cluster: ClusterFixture) -> None:
    """Otherwise a request could never delete a run of a queue that takes long to list."""
    namespace, clock, hold = cluster.connect(), Clock(), Hold()
    canceller = Canceller(namespace, RunReader(namespace, lambda: SLOTS), clock=clock)
    cluster.queue(count=3)
    cluster.proxy.add(Fault(hold, method="GET", path=r"/jobs$"))
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(canceller.empty, "fib")
        hold.wait_held()
        clock.now += 3600
        hold.release()
        assert future.result(DEADLINE_SECONDS) == EmptyResult(deleted=3, remaining=0)


def test_empty__says_how_many_runs_are_certainly_deleted_where_a_delete_fails(
    cluster: ClusterFixture, canceller: Canceller
) -> None:
    cluster.queue(count=6)
    # Otherwise the Job controller's first write to a Job may conflict with a delete.
    until(lambda: all(job.status.conditions for job in cluster.batch.list_namespaced_job(cluster.namespace).items))
    cluster.proxy.add(Fault(LoseRequest(), method="DELETE", skip=2, times=None))
    with pytest.raises(CancelFailedError) as failure:
        canceller.empty("fib")
    assert failure.value.deleted == 6 - len(names(cluster)) == 2
    assert failure.value.outcome_unknown
