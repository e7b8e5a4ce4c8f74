"""Cancelling runs while others admit them, and while the way to the API server fails."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.definitions.registry import Registry
from app.domain.names import id_in
from app.runs.cancel import Canceller, EmptyResult
from app.runs.deletion import CancelFailedError
from app.runs.reader import RunReader, UnknownRunError
from schemas.definition import Definition
from schemas.run import RunView, Status
from tests.integration.dispatching import LONG, Stage, until
from tests.support.clock import Clock
from tests.support.faults import Action, Fault, FaultProxy, Hold, LoseAnswer, LoseRequest, Refuse, Truncate
from tests.support.observer import Observer

SLOTS = {"fib": 1}


@pytest.fixture
def canceller(stage: Stage) -> Canceller:
    """Cancels through the stage's proxy; its pauses are short."""
    namespace = stage.connect()
    runs = RunReader(namespace, Registry({"fib": Definition("fib", "busybox:1")}))
    return Canceller(namespace, runs, sleep=lambda _seconds: None)


def cancel(canceller: Canceller, name: str) -> RunView:
    return canceller.cancel("fib", id_in(name))


def deletions(stage: Stage) -> list[bytes]:
    return [request.body for request in stage.proxy.requests if request.method == "DELETE"]


def names(stage: Stage) -> set[str]:
    return {job.metadata.name for job in stage.batch.list_namespaced_job(stage.name).items}


def test_a_queued_run_is_gone_at_once(stage: Stage, canceller: Canceller) -> None:
    """Its last state is that it was queued; then nobody knows it."""
    [name] = stage.queue()
    view = cancel(canceller, name)
    assert (view.status, view.reason, view.position_in_queue) == (Status.QUEUED, "Deleting", -1)
    assert names(stage) == set()
    with pytest.raises(UnknownRunError):
        cancel(canceller, name)


def test_the_slot_of_an_active_run_is_free_when_its_pod_is_gone(
    stage: Stage, seen: Observer, canceller: Canceller
) -> None:
    """While the dispatcher runs and others wait for the slot, there are never two pods."""
    running = stage.queue(args=LONG)
    waiting = stage.queue(count=2)
    with stage.dispatching(SLOTS):
        seen.wait(lambda: bool(seen.pods.get(running[0])))
        first = cancel(canceller, running[0])
        seen.wait(lambda: seen.finished >= set(waiting))
    assert first.status in (Status.PENDING, Status.RUNNING)
    assert first.reason == "Deleting"
    assert running[0] in seen.gone
    assert seen.most_active["fib"] == 1
    assert seen.most_pods["fib"] == 1


def test_cancelling_an_active_run_again_writes_nothing(stage: Stage, seen: Observer, canceller: Canceller) -> None:
    """While it is going every call gets its state; once it is gone, none does."""
    [name] = stage.queue(args=LONG)
    with stage.dispatching(SLOTS):
        seen.wait(lambda: bool(seen.pods.get(name)))
    pod = stage.core.list_namespaced_pod(stage.name).items[0].metadata.name
    finalizers = {"metadata": {"finalizers": ["tests.example/hold"]}}
    stage.batch.patch_namespaced_job(name, stage.name, finalizers)
    cancel(canceller, name)
    again = cancel(canceller, name)
    assert again.reason in ("Deleting", "BackoffLimitExceeded")  # the latter once its pod has been killed
    assert len(deletions(stage)) == 1
    # Once the garbage collector has let it go, only our own finalizer holds it.
    until(lambda: stage.job(name).metadata.finalizers == ["tests.example/hold"])
    assert pod not in {one.metadata.name for one in stage.core.list_namespaced_pod(stage.name).items}
    stage.batch.patch_namespaced_job(name, stage.name, {"metadata": {"finalizers": None}})
    seen.wait(lambda: name in seen.gone)
    with pytest.raises(UnknownRunError):
        cancel(canceller, name)


def test_a_finished_run_is_removed_with_its_last_state(stage: Stage, seen: Observer, canceller: Canceller) -> None:
    """The caller learns how it ended."""
    [name] = stage.queue()
    with stage.dispatching(SLOTS):
        seen.wait(lambda: name in seen.finished)
    view = cancel(canceller, name)
    assert (view.status, view.exit_code) == (Status.SUCCEEDED, 0)
    assert names(stage) == set()


@pytest.mark.parametrize(
    "action",
    [LoseAnswer(), LoseRequest(), Truncate(10), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooManyRequests")],
)
def test_a_deletion_that_got_no_answer_is_made_sure_of(stage: Stage, canceller: Canceller, action: Action) -> None:
    """Whether it was carried out or not, the run is gone and the caller hears of success."""
    [name] = stage.queue()
    fault = stage.proxy.add(Fault(action, method="DELETE"))
    assert cancel(canceller, name).name == name
    assert stage.proxy.strikes(fault) == 1
    assert names(stage) == set()


def test_a_run_that_can_not_be_deleted_is_not_said_to_be(stage: Stage, canceller: Canceller) -> None:
    """The caller hears whether it may be gone all the same."""
    [name] = stage.queue()
    refusal = stage.proxy.add(Fault(Refuse(429, "TooManyRequests"), method="DELETE", times=None))
    with pytest.raises(CancelFailedError) as refused:
        cancel(canceller, name)
    assert not refused.value.outcome_unknown
    stage.proxy.remove(refusal)
    stage.proxy.add(Fault(LoseRequest(), method="DELETE", times=None))
    with pytest.raises(CancelFailedError) as lost:
        cancel(canceller, name)
    assert lost.value.outcome_unknown
    assert names(stage) == {name}


def test_conflicts_without_end_end(stage: Stage, canceller: Canceller) -> None:
    """The last try asks for no version of the run."""
    [name] = stage.queue()
    conflict = stage.proxy.add(Fault(Refuse(409, "Conflict"), method="DELETE", times=None))
    with pytest.raises(CancelFailedError):
        cancel(canceller, name)
    assert 2 <= stage.proxy.strikes(conflict) <= 8
    assert b"resourceVersion" not in deletions(stage)[-1]
    assert b"Foreground" in deletions(stage)[-1]


def test_a_run_that_is_admitted_before_its_deletion_arrives_is_deleted_as_an_active_one(
    stage: Stage, seen: Observer, canceller: Canceller
) -> None:
    """The deletion of the queued run conflicts, and the second look finds its pod."""
    [name] = stage.queue(args=LONG)
    behind = stage.queue()
    hold = Hold()
    stage.proxy.add(Fault(hold, method="DELETE"))
    with FaultProxy(stage.server.url, ca=stage.server.ca_file) as other, ThreadPoolExecutor(1) as caller:
        future = caller.submit(cancel, canceller, name)
        hold.wait_held()
        with stage.dispatching(SLOTS, proxy=other):
            seen.wait(lambda: bool(seen.pods.get(name)))
            hold.release()
            assert future.result(30).reason == "Deleting"
            seen.wait(lambda: seen.finished >= set(behind))
    assert b"Background" in deletions(stage)[0]
    assert b"Foreground" in deletions(stage)[-1]
    assert name in seen.gone
    assert seen.most_pods["fib"] == 1


def test_an_admission_that_arrives_after_the_deletion_starts_nothing(
    stage: Stage, seen: Observer, canceller: Canceller
) -> None:
    """The run was cancelled before it started: no pod of it was ever there."""
    [name] = stage.queue()
    hold = Hold()
    with FaultProxy(stage.server.url, ca=stage.server.ca_file) as other:
        other.add(Fault(hold, method="PATCH"))
        with stage.dispatching(SLOTS, proxy=other):
            hold.wait_held()
            assert cancel(canceller, name).status is Status.QUEUED
            hold.release()
            [behind] = stage.queue()
            seen.wait(lambda: behind in seen.finished)
    assert name not in seen.starts
    assert seen.pods.get(name) is None


def test_a_deletion_that_arrives_late_spares_a_later_run_of_the_same_name(stage: Stage, canceller: Canceller) -> None:
    """Its uid is another one."""
    [name] = stage.queue()
    job = stage.job(name)
    hold = Hold()
    stage.proxy.add(Fault(hold, method="DELETE"))
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(cancel, canceller, name)
        hold.wait_held()
        stage.delete(name)
        job.metadata.resource_version = job.metadata.uid = job.metadata.creation_timestamp = job.status = None
        job.metadata.managed_fields = job.spec.selector = None
        for label in ("batch.kubernetes.io/controller-uid", "controller-uid"):
            job.spec.template.metadata.labels.pop(label, None)
        stage.batch.create_namespaced_job(stage.name, job)
        hold.release()
        with pytest.raises(UnknownRunError):
            future.result(30)
    assert names(stage) == {name}


@pytest.mark.parametrize("action", [None, LoseAnswer(), LoseRequest(), Refuse(503, "ServiceUnavailable")])
def test_a_queue_is_emptied_and_counted(stage: Stage, canceller: Canceller, action: Action | None) -> None:
    """Each queued run counts once, whatever happens on the way; runs of other definitions stay."""
    stage.queue(count=12)
    others = stage.queue("other", count=2)
    if action is not None:
        stage.proxy.add(Fault(action, method="DELETE", every=4, times=3))
    assert canceller.empty("fib") == EmptyResult(deleted=12, remaining=0)
    assert canceller.empty("fib") == EmptyResult(deleted=0, remaining=0)
    assert names(stage) == set(others)


def test_emptying_a_queue_leaves_a_run_alone_that_is_admitted_meanwhile(
    stage: Stage, seen: Observer, canceller: Canceller
) -> None:
    """It was looked at when it was queued, and has started since."""
    [name] = stage.queue(args=LONG)
    stage.queue(count=3)
    hold = Hold()
    stage.proxy.add(Fault(hold, method="DELETE", path=name))
    with FaultProxy(stage.server.url, ca=stage.server.ca_file) as other, ThreadPoolExecutor(1) as caller:
        future = caller.submit(canceller.empty, "fib")
        hold.wait_held()
        until(lambda: names(stage) == {name})
        with stage.dispatching(SLOTS, proxy=other):
            seen.wait(lambda: bool(seen.pods.get(name)))
        hold.release()
        assert future.result(30) == EmptyResult(deleted=3, remaining=0)
    assert names(stage) == {name}
    assert stage.job(name).metadata.deletion_timestamp is None


def test_a_queue_whose_emptying_takes_too_long_says_what_remains(stage: Stage) -> None:
    """The caller asks again; nobody waits for minutes."""
    namespace = stage.connect()
    runs = RunReader(namespace, Registry({}))
    seconds = iter(range(0, 1000, 2))
    canceller = Canceller(namespace, runs, clock=lambda: float(next(seconds)))
    stage.queue(count=12)
    emptied = canceller.empty("fib")
    assert emptied.deleted > 0
    assert emptied.remaining > 0
    assert emptied.deleted + emptied.remaining == 12
    assert len(names(stage)) == emptied.remaining


def test_a_queue_that_takes_long_to_list_is_emptied_all_the_same(stage: Stage) -> None:
    """Else no call would ever come to the first of its runs."""
    namespace, clock, hold = stage.connect(), Clock(), Hold()
    canceller = Canceller(namespace, RunReader(namespace, Registry({})), clock=clock)
    stage.queue(count=3)
    stage.proxy.add(Fault(hold, method="GET", path=r"/jobs$"))
    with ThreadPoolExecutor(1) as caller:
        future = caller.submit(canceller.empty, "fib")
        hold.wait_held()
        clock.now += 3600
        hold.release()
        assert future.result(30) == EmptyResult(deleted=3, remaining=0)


def test_a_queue_that_can_not_be_emptied_says_how_far_it_came(stage: Stage, canceller: Canceller) -> None:
    """What is certainly deleted is counted, also when the API server goes away."""
    stage.queue(count=6)
    stage.proxy.add(Fault(LoseRequest(), method="DELETE", skip=2, times=None))
    with pytest.raises(CancelFailedError) as failure:
        canceller.empty("fib")
    assert failure.value.deleted == 6 - len(names(stage)) == 2
    assert failure.value.outcome_unknown
