"""Admitting while the API server, or the way to it, fails: nothing is lost, doubled or over the cap."""

from functools import partial

import pytest

from app.dispatcher.lease import LeaseTiming
from app.kube import labels
from tests.integration.dispatching import LONG, QUICK, ClusterFixture, is_admission, is_new_event, until
from tests.support.faults import (
    Action,
    Delay,
    Fault,
    FaultProxy,
    GoSilent,
    Hold,
    LoseRequest,
    LoseResponse,
    Refuse,
    Request,
    Truncate,
)
from tests.support.observer import Observer
from tests.support.selection import slow

RUNS = 4
SLOTS = {"fib": 2}


def is_fence(request: Request) -> bool:
    return request.method == "PATCH" and labels.FENCE_ANNOTATION.encode() in request.body


def dispatch_all(cluster: ClusterFixture, seen: Observer, *faults: Fault, silence_seconds: float = 60.0) -> None:
    """Queue runs, make faults while they are dispatched, and check that each ran once and never too many at once."""
    for fault in faults:
        cluster.proxy.add(fault)
    names = cluster.queue(count=RUNS)
    with cluster.dispatching(SLOTS, silence_seconds=silence_seconds):
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2
    seen.wait(lambda: all(seen.pods[name] for name in names))  # the pods have a watch of their own
    assert all(len(seen.pods[name]) == 1 for name in names)
    for fault in faults:
        assert cluster.proxy.hits(fault)


@pytest.mark.parametrize(
    "action",
    [
        LoseResponse(),
        Delay(after_seconds=0.3),
        *slow(
            Truncate(40),
            Refuse(409, "Conflict"),
            LoseRequest(),
            Refuse(429, "TooManyRequests", retry_after_seconds=1),
            Refuse(503, "ServiceUnavailable"),
        ),
    ],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'status', '')}",
)
def test_dispatcher__every_second_patch_fails__starts_each_run_once(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """Whether an admission was stored without an answer, never arrived or was refused: each run starts once."""
    dispatch_all(cluster, seen, Fault(action, method="PATCH", every=2, times=None))


def test_dispatcher__response_is_not_a_job__leaves_the_run_in_doubt(cluster: ClusterFixture, seen: Observer) -> None:
    """Whatever has answered in the API server's place: the admission may arrive, and nothing is forgotten for it."""
    odd = cluster.proxy.add(Fault(Refuse(200, "SomeProxy"), when=is_admission, times=2))
    names = cluster.queue(count=RUNS)
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(names))
        lists = [request for request in cluster.proxy.requests if "/jobs" in request.path and "limit" in request.query]
    assert cluster.proxy.hits(odd) == 2
    assert len(lists) == 1, "the dispatcher began anew"
    tried = [request.path for request in cluster.proxy.requests if is_admission(request)]
    assert tried[0] == tried[1] == tried[2], "another run was tried while the first was in doubt"
    assert seen.most_active["fib"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("action", [LoseRequest(), Truncate(40), Refuse(500, "InternalError"), Refuse(404, "NotFound")])
def test_dispatcher__run_cannot_be_read_after_a_conflict__is_not_started_blindly(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """A conflict says that the run has changed; as long as nobody can say how, it isn't started blindly."""
    conflicts = Fault(Refuse(409, "Conflict"), method="PATCH", every=2, times=None)
    dispatch_all(cluster, seen, conflicts, Fault(action, method="GET", path="/jobs/", every=2, times=4))


def test_dispatcher__false_404__keeps_the_run(cluster: ClusterFixture, seen: Observer) -> None:
    """A 404 that isn't the truth costs time only: that a run is gone is for the watch to say."""
    dispatch_all(cluster, seen, Fault(Refuse(404, "NotFound"), method="PATCH", times=4))


@pytest.mark.slow
@pytest.mark.parametrize("action", [LoseResponse(), Refuse(503, "ServiceUnavailable"), LoseRequest()])
def test_dispatcher__event_write_fails__stores_the_event_once(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """News that could not be written is written later; news whose answer was lost isn't written twice."""
    cluster.proxy.add(Fault(action, method="POST", path="/events$"))
    [waiting] = cluster.queue(depends_on=("nowhere",))
    with cluster.dispatching(SLOTS):
        cluster.proxy.wait_for(is_new_event, count=2)
        until(lambda: cluster.reasons(waiting) == ["WaitingForDependencies"])


@pytest.mark.slow
def test_dispatcher__events_cannot_be_written__delay_no_admission(cluster: ClusterFixture, seen: Observer) -> None:
    """Telling why runs wait comes second: an Event that gets no answer keeps nobody waiting."""
    cluster.queue(count=5, depends_on=("nowhere",))
    hang = cluster.proxy.add(Fault(GoSilent(), method="POST", path="/events$", times=None))
    with cluster.dispatching(SLOTS):
        until(lambda: cluster.proxy.hits(hang))
        names = cluster.queue(count=2)
        seen.wait(lambda: set(names) <= set(seen.starts))


@pytest.mark.parametrize(
    "action", [LoseResponse(), LoseRequest(), *slow(Refuse(503, "ServiceUnavailable"), Refuse(200, "SomeProxy"))]
)
def test_dispatcher__failed_renewal__is_repeated_and_keeps_the_term(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """A renewal that failed is tried again at once, so one or two failures don't interrupt the term."""
    timing = LeaseTiming(lease_seconds=60, renew_seconds=0.1, retry_seconds=0.1)
    with cluster.dispatching(SLOTS, timing=timing) as dispatcher:
        failing = cluster.proxy.add(Fault(action, method="PUT", path="/leases/", every=2, times=6))
        until(lambda: cluster.proxy.hits(failing) == 6 or not dispatcher.leading)
        assert dispatcher.leading
        lists = [request for request in cluster.proxy.requests if "/jobs" in request.path and "limit" in request.query]
        assert len(lists) == 1, "an interruption would have made it list again"


def test_dispatcher__lease_created_without_a_response__is_its_own(cluster: ClusterFixture, seen: Observer) -> None:
    """Whoever finds the lease under its own name holds it."""
    dispatch_all(cluster, seen, Fault(LoseResponse(), method="POST", path="/leases$"))


def test_dispatcher__silent_watch__is_opened_again(cluster: ClusterFixture, seen: Observer) -> None:
    """A half-open connection looks like a cluster where nothing happens; it is given up after the time of silence."""
    with cluster.dispatching(SLOTS, silence_seconds=1.0):
        [first] = cluster.queue()
        seen.wait(lambda: first in seen.finished)
        cluster.proxy.silence(watches_only=True)
        names = cluster.queue(count=RUNS)
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.most_active["fib"] <= 2


def test_dispatcher__watches_cut_again_and_again__miss_no_change(cluster: ClusterFixture, seen: Observer) -> None:
    """Each goes on where it broke, or lists again."""
    names = []
    with cluster.dispatching(SLOTS):
        for _ in range(RUNS):
            names += cluster.queue()
            cluster.proxy.cut_watches()
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2


@pytest.mark.parametrize("reason", [(410, "Expired"), (410, "Gone"), (400, "BadRequest"), (403, "Forbidden")])
def test_dispatcher__refused_watch__lists_again(
    cluster: ClusterFixture, seen: Observer, reason: tuple[int, str]
) -> None:
    """When the history to go on from is gone, a list brings what was missed, deletions included."""
    with cluster.dispatching({"fib": 1}):
        [running] = cluster.queue(args=LONG)
        seen.wait(lambda: running in seen.starts)
        refusals = cluster.proxy.add(
            Fault(Refuse(*reason), method="GET", when=lambda request: request.watching, times=3)
        )
        cluster.proxy.cut_watches()
        cluster.delete(running)
        [queued] = cluster.queue()
        seen.wait(lambda: queued in seen.finished)
        assert cluster.proxy.hits(refusals) == 3
    assert seen.most_active["fib"] == 1


def test_dispatcher__lists_fail__admits_nothing(cluster: ClusterFixture, seen: Observer) -> None:
    """A new leader admits nothing before it has seen everything: what it doesn't see may hold a slot."""
    [running] = cluster.queue(args=LONG)
    cluster.suspend(running, False)
    cluster.queue(count=2)
    no_jobs = cluster.proxy.add(
        Fault(Refuse(500, "InternalError"), path="/jobs$", when=lambda request: not request.watching, times=3)
    )
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.proxy.hits(no_jobs) == 3)
        cluster.proxy.wait_for(is_new_event)
    assert list(seen.starts) == [running]


@pytest.mark.slow
def test_dispatcher__watch_of_dependencies_is_broken__admits_nothing(cluster: ClusterFixture, seen: Observer) -> None:
    """A dependency that was ready may have gone meanwhile: old news admits nobody."""
    cluster.deploy("db", replicas=1)
    with cluster.dispatching({"fib": 1}):
        [first] = cluster.queue(depends_on=("db",))
        seen.wait(lambda: first in seen.finished)
        broken = cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), path="/deployments", times=None))
        cluster.proxy.cut_watches()
        until(lambda: cluster.proxy.hits(broken))
        cluster.scale("db", replicas=0)
        cluster.await_ready("db", 0)
        [second] = cluster.queue(depends_on=("db",))
        until(lambda: cluster.proxy.hits(broken) >= 4)
        assert second not in seen.starts
        cluster.proxy.remove(broken)
        until(lambda: cluster.reasons(second) == ["WaitingForDependencies"])
        assert second not in seen.starts
        cluster.scale("db", replicas=1)
        seen.wait(lambda: second in seen.finished)


@pytest.mark.slow
def test_dispatcher__api_server_is_away_for_longer_than_the_lease__goes_on_afterwards(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Longer than the lease lasts: runs wait, and go on soon after it is back."""
    names = cluster.queue(count=RUNS)
    with cluster.dispatching(SLOTS, timing=QUICK) as dispatcher:
        seen.wait(lambda: bool(seen.finished))
        cluster.proxy.refuse_connections()
        cluster.proxy.cut_all()
        until(lambda: not dispatcher.leading)
        names += cluster.queue(count=2)
        cluster.proxy.heal()
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2


def test_dispatcher__connections_cut_all_the_time__starts_each_run_once(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Every connection is dropped whenever a run has ended."""
    names = cluster.queue(count=RUNS)
    with cluster.dispatching(SLOTS):
        for count in range(1, RUNS):
            seen.wait(partial(seen.has_finished, count))
            cluster.proxy.cut_all()
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2


@pytest.mark.slow
def test_dispatcher__admission_arrives_long_after_its_timeout__holds_its_slot_until_settled(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """As long as it may arrive it holds its slot; once the same admission was answered it can only conflict."""
    hold = Hold()
    cluster.proxy.add(Fault(hold, when=is_admission))
    names = cluster.queue(count=3)
    with cluster.dispatching({"fib": 1}):
        hold.wait_held()
        lost = cluster.proxy.add(Fault(LoseRequest(), when=is_admission, times=2))
        cluster.proxy.cut_all()
        until(lambda: cluster.proxy.hits(lost) == 2)
        assert not seen.starts, "the slot of the run in doubt was given away"
        seen.wait(lambda: seen.finished >= set(names))
        hold.release()
        late = cluster.proxy.wait_for(lambda request: is_admission(request) and request.status == 409)
    assert late
    assert seen.started == names
    assert seen.most_active["fib"] == 1


@pytest.mark.slow
def test_dispatcher__admission_arrives_before_it_is_settled__takes_its_slot(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """It was late, but it counts: the watch shows it, and no other run gets its slot."""
    hold = Hold()
    cluster.proxy.add(Fault(hold, when=is_admission))
    names = cluster.queue(count=3)
    with cluster.dispatching({"fib": 1}):
        hold.wait_held()
        cluster.proxy.add(Fault(LoseRequest(), when=is_admission, times=2))
        cluster.proxy.cut_all()
        hold.release()
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.started == names
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 1


def test_dispatcher__late_admission__cannot_start_a_run_whose_dependency_is_gone(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """The doubt is settled by a change that admits nobody, so the run waits for its dependency like any other."""
    cluster.deploy("db", replicas=1)
    hold = Hold()
    cluster.proxy.add(Fault(hold, when=is_admission))
    [dependent] = cluster.queue(depends_on=("db",))
    with cluster.dispatching({"fib": 1}):
        hold.wait_held()
        before = cluster.proxy.requests
        cluster.scale("db", replicas=0)
        cluster.await_ready("db", 0)
        cluster.proxy.cut_all()
        fences = 1 + sum(map(is_fence, before))
        cluster.proxy.wait_for(lambda request: is_fence(request) and request.status == 200, count=fences)
        hold.release()
        cluster.proxy.wait_for(lambda request: is_admission(request) and request.status == 409)
        [other] = cluster.queue()
        seen.wait(lambda: other in seen.finished)
    assert dependent not in seen.starts


def test_dispatcher__stopped_during_an_outage__ends_soon(cluster: ClusterFixture) -> None:
    """Stopping waits for the call under way and for nothing else."""
    proxy: FaultProxy = cluster.proxy
    dispatcher = cluster.dispatcher(SLOTS)
    dispatcher.start()
    until(lambda: dispatcher.leading)
    proxy.refuse_connections()
    proxy.cut_all()
    dispatcher.stop()
    assert not dispatcher.leading


@pytest.mark.parametrize("call", ["admission", *slow("watch", "lease")])
def test_dispatcher__retry_after__is_respected(cluster: ClusterFixture, seen: Observer, call: str) -> None:
    """Its priority and fairness says when to come back; whoever comes sooner makes it worse."""

    def is_meant(request: Request) -> bool:
        match call:
            case "admission":
                return is_admission(request)
            case "watch":
                return request.watching and request.path.endswith("/jobs")
            case _:
                return "/leases" in request.path

    busy = Refuse(429, "TooManyRequests", retry_after_seconds=3)
    fault = cluster.proxy.add(Fault(busy, when=is_meant))
    names = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(names))
    first, second = [request for request in cluster.proxy.requests if is_meant(request)][:2]
    assert first.fault is fault
    assert second.started - first.started >= 3
