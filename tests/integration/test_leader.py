"""One dispatcher at a time: elections, silent and paused leaders, and what the next one makes of what they left."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial

import pytest

from app.dispatcher.lease import LeaseTiming
from app.dispatcher.loop import Dispatcher
from app.kube import labels
from tests.integration.dispatching import LONG, QUICK, ClusterFixture, DispatcherProcess, until
from tests.support.faults import Fault, FaultProxy, GoSilent, Hold, LoseResponse, Refuse, Request
from tests.support.observer import Observer

SLOTS = {"fib": 1}


def is_renewal(request: Request) -> bool:
    return request.method == "PUT" and "/leases/" in request.path


def is_look(request: Request) -> bool:
    return request.method == "GET" and "/leases/" in request.path


@contextlib.contextmanager
def both(first: Dispatcher, second: Dispatcher) -> Iterator[None]:
    """Start two dispatchers, and stop them in the end."""
    first.start()
    second.start()
    try:
        yield
    finally:
        first.stop()
        second.stop()


def test_leader__two_start_at_once__one_leads(cluster: ClusterFixture, seen: Observer) -> None:
    """The lease is created once; every run starts once, in order, and never are there more than slots."""
    names = cluster.queue(count=8)
    first, second = cluster.dispatcher(SLOTS), cluster.dispatcher(SLOTS)
    with both(first, second):
        while not seen.finished >= set(names):
            assert not (first.leading and second.leading)
            time.sleep(0.005)
    assert seen.started == names
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 1


def test_leader__stops__hands_over_at_once(cluster: ClusterFixture, seen: Observer) -> None:
    """It gives the lease back, so that nobody has to wait for its end: here an hour."""
    timing = LeaseTiming(lease_seconds=3600)
    first, second = cluster.dispatcher(SLOTS, timing=timing), cluster.dispatcher(SLOTS, timing=timing)
    first.start()
    until(cluster.is_settled)
    second.start()
    cluster.proxy.wait_for(is_look, count=2)
    try:
        first.stop()
        [run] = cluster.queue()
        seen.wait(lambda: run in seen.finished)
    finally:
        second.stop()
    assert cluster.holder() == ""


def test_leader__stops_after_a_renewal_without_a_response__hands_over_at_once(cluster: ClusterFixture) -> None:
    """It looks at the lease before it gives it back: its own renewal may have been stored."""
    timing = LeaseTiming(lease_seconds=60, renew_seconds=0.1, retry_seconds=60)
    with cluster.dispatching(SLOTS, timing=timing):
        until(cluster.is_settled)
        lost = cluster.proxy.add(Fault(LoseResponse(), when=is_renewal))
        until(lambda: cluster.proxy.hits(lost))
    assert cluster.holder() == ""


def test_leader__killed__is_followed_when_its_lease_has_expired(cluster: ClusterFixture, seen: Observer) -> None:
    """Its runs go on, its queue is taken over, and nothing starts twice."""
    [running] = cluster.queue(args=LONG)
    names = cluster.queue(count=3)
    with DispatcherProcess(cluster.kubeconfig(), cluster.namespace, SLOTS) as leader:
        seen.wait(lambda: running in seen.starts)
        follower = cluster.dispatcher(SLOTS)
        follower.start()
        try:
            leader.kill()
            until(lambda: follower.leading)
            cluster.delete(running)
            seen.wait(lambda: names[0] in seen.starts)
            seen.wait(lambda: seen.finished >= set(names))
        finally:
            follower.stop()
    assert seen.started == [running, *names]
    assert seen.most_active["fib"] == 1


@pytest.mark.slow
def test_leader__killed_again_and_again__starts_each_run_once(cluster: ClusterFixture, seen: Observer) -> None:
    """Wherever they die, each run starts once, and never are there more than slots."""
    names = cluster.queue(count=10)
    for _ in range(3):
        already = len(seen.starts)
        with DispatcherProcess(cluster.kubeconfig(), cluster.namespace, {"fib": 2}) as leader:
            seen.wait(partial(seen.has_started, already + 2))
            leader.kill()
    with cluster.dispatching({"fib": 2}):
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2


@pytest.mark.slow
def test_leader__paused_for_longer_than_its_lease__does_not_act_again(cluster: ClusterFixture, seen: Observer) -> None:
    """By its own clock its lease is over; it sees that before it acts, and follows."""
    with DispatcherProcess(cluster.kubeconfig(), cluster.namespace, SLOTS) as leader:
        [first] = cluster.queue()
        seen.wait(lambda: first in seen.finished)
        paused = cluster.holder()
        leader.pause()
        names = cluster.queue(count=4)
        with cluster.dispatching(SLOTS):
            seen.wait(lambda: seen.finished >= {names[0]})
            leader.resume()
            seen.wait(lambda: seen.finished >= set(names))
            assert cluster.holder() != paused
    assert seen.started == [first, *names]
    assert seen.most_active["fib"] == 1


@pytest.mark.slow
def test_leader__loses_the_api_server__stops_before_the_next_one_begins(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """At no moment do both lead, and the one that was cut off follows when it is back."""
    first, second = cluster.dispatcher(SLOTS, proxy=cut_off, timing=QUICK), cluster.dispatcher(SLOTS)
    first.start()
    until(lambda: first.leading)
    second.start()
    names = cluster.queue(count=2)
    try:
        seen.wait(lambda: seen.finished >= set(names))
        cut_off.silence()
        while not second.leading:
            time.sleep(0.002)
        assert not first.leading
        names += cluster.queue(count=3)
        cut_off.heal()
        seen.wait(lambda: seen.finished >= set(names))
        assert second.leading
        assert not first.leading
    finally:
        first.stop()
        second.stop()
    assert seen.started == names
    assert seen.most_active["fib"] == 1


def test_leader__late_admission_of_the_last_leader__takes_no_slot_twice(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """The new leader chooses another run for the only slot; what the old one had under way must conflict.

    Nothing but a change of that run can stop an admission that the network, or a pause of its process, held back for
    longer than the lease.
    """
    cluster.deploy("db", replicas=1)
    hold = Hold()
    cut_off.add(Fault(hold, method="PATCH", times=None))
    first, second = cluster.dispatcher(SLOTS, proxy=cut_off, timing=QUICK), cluster.dispatcher(SLOTS)
    first.start()
    until(lambda: first.leading)
    [dependent] = cluster.queue(depends_on=("db",))
    hold.wait_held()
    cluster.scale("db", replicas=0)
    cluster.await_ready("db", 0)
    [other] = cluster.queue(args=LONG)
    cut_off.refuse_connections()
    second.start()
    try:
        seen.wait(lambda: other in seen.starts)
        hold.release()
        cut_off.wait_for(lambda request: request.method == "PATCH" and request.status == 409)
        assert seen.started == [other]
        assert seen.most_active["fib"] == 1
        cluster.delete(other)
        cluster.scale("db", replicas=1)
        seen.wait(lambda: dependent in seen.finished)
    finally:
        first.stop()
        second.stop()
    assert seen.starts == {other: 1, dependent: 1}


def test_leader__loses_the_lease_during_a_call__sends_no_other(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """Whatever that call does, no further one follows it, and both leaders' runs together keep to the slots."""
    hold = Hold()
    first, second = cluster.dispatcher({"fib": 2}, proxy=cut_off, timing=QUICK), cluster.dispatcher({"fib": 2})
    first.start()
    until(cluster.is_settled)
    cut_off.add(Fault(hold, method="PATCH", times=None))
    names = cluster.queue(count=6)
    hold.wait_held()
    cut_off.add(Fault(GoSilent(), path="/leases", times=None))
    second.start()
    try:
        until(lambda: second.leading)
        before = len([request for request in cut_off.requests if request.method == "PATCH"])
        hold.release()
        seen.wait(lambda: seen.finished >= set(names))
        patches = [request for request in cut_off.requests if request.method == "PATCH"]
        assert len(patches) == before, "it went on without the lease"
    finally:
        cut_off.heal()
        first.stop()
        second.stop()
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] <= 2


def test_leader__clock_jumps__lists_everything_again(cluster: ClusterFixture, seen: Observer) -> None:
    """It slept for longer than its lease: even if it gets the lease back at once, somebody may have led meanwhile."""
    slept_seconds = 0.0
    timing = LeaseTiming(lease_seconds=2, renew_seconds=0.05, retry_seconds=0.05)

    def clock() -> float:
        return time.monotonic() + slept_seconds

    def has_listed(times: int) -> bool:
        lists = [request for request in cluster.proxy.requests if "/jobs" in request.path and "limit=" in request.query]
        return len(lists) >= times

    with cluster.dispatching({"fib": 1}, timing=timing, clock=clock):
        [first] = cluster.queue()
        seen.wait(lambda: first in seen.finished)
        for count in range(2, 5):
            # It falls asleep during a renewal. If it fell asleep just before one, it would rightly go on leading: the
            # renewal is stored only if nobody else has written the Lease meanwhile.
            hold = Hold()
            cluster.proxy.add(Fault(hold, method="PUT", path="/leases"))
            hold.wait_held()
            slept_seconds += 60
            hold.release()
            until(partial(has_listed, count))
        [second] = cluster.queue()
        seen.wait(lambda: second in seen.finished)


def test_leader__stops_with_an_admission_in_doubt__keeps_the_lease_until_it_expires(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Otherwise the next leader would not know that something may still arrive."""
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="PATCH", times=None))
    cluster.queue(count=2)
    with cluster.dispatching(SLOTS):
        hold.wait_held()
        cluster.proxy.cut_all()
        cluster.proxy.wait_for(lambda request: request.method == "PATCH", count=2)
        cluster.proxy.cut_all()
    assert cluster.holder() != ""


def test_leader__lease_is_taken_by_hand__ends_the_term(cluster: ClusterFixture, seen: Observer) -> None:
    """Who is written in the lease is respected, as long as its time runs; then the queue goes on."""
    with cluster.dispatching(SLOTS) as dispatcher:
        body = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 1}}
        cluster.leases.patch_namespaced_lease(labels.LEASE_NAME, cluster.namespace, body)
        until(lambda: not dispatcher.leading)
        [run] = cluster.queue()
        seen.wait(lambda: run in seen.finished)
        assert dispatcher.leading


def test_leader__lease_is_deleted_by_hand__creates_it_again(cluster: ClusterFixture, seen: Observer) -> None:
    """The queue goes on."""
    with cluster.dispatching(SLOTS):
        cluster.leases.delete_namespaced_lease(labels.LEASE_NAME, cluster.namespace)
        until(cluster.holder)
        [run] = cluster.queue()
        seen.wait(lambda: run in seen.finished)


@pytest.mark.slow
def test_leader__lease_is_deleted_by_hand__has_no_second_leader(cluster: ClusterFixture) -> None:
    """Its holder acts until it notices: a candidate that knew the lease waits for it to be made again, or to expire."""
    first, second = cluster.dispatcher(SLOTS), cluster.dispatcher(SLOTS)
    with both(first, second):
        until(lambda: first.leading or second.leading)
        for _ in range(5):
            looks = len([request for request in cluster.proxy.requests if is_look(request)])
            cluster.proxy.wait_for(is_look, count=looks + 2)
            cluster.leases.delete_namespaced_lease(labels.LEASE_NAME, cluster.namespace)
            while not cluster.holder():
                assert not (first.leading and second.leading)
            for _ in range(50):
                assert not (first.leading and second.leading)
                time.sleep(0.005)


@pytest.mark.slow
def test_candidate__lease_of_a_dead_leader_is_deleted__waits_until_it_expires(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Who comes next knows that the last one fell silent."""
    with DispatcherProcess(cluster.kubeconfig(), cluster.namespace, SLOTS) as leader:
        until(cluster.holder)
        follower = cluster.dispatcher(SLOTS)
        follower.start()
        try:
            cluster.proxy.wait_for(is_look, count=2)
            leader.kill()
            cluster.leases.delete_namespaced_lease(labels.LEASE_NAME, cluster.namespace)
            names = cluster.queue(count=2)
            seen.wait(lambda: seen.finished >= set(names))
        finally:
            follower.stop()
    assert seen.most_active["fib"] == 1


@pytest.mark.parametrize("spec", [None, {"holderIdentity": ""}, {"holderIdentity": "gone"}])
def test_candidate__lease_without_holder_or_duration__takes_it(
    cluster: ClusterFixture, seen: Observer, spec: dict[str, str] | None
) -> None:
    """Without a holder, or without a time for which it is held, it keeps nobody away."""
    cluster.leases.create_namespaced_lease(cluster.namespace, {"metadata": {"name": labels.LEASE_NAME}, "spec": spec})
    with cluster.dispatching(SLOTS):
        [run] = cluster.queue()
        seen.wait(lambda: run in seen.finished)


def test_candidate__lease_of_another__waits_by_its_own_clock(cluster: ClusterFixture) -> None:
    """What times another clock has written into it is no matter."""
    long_ago = "2020-01-01T00:00:00.000001Z"
    body = {
        "metadata": {"name": labels.LEASE_NAME},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 2, "renewTime": long_ago, "acquireTime": long_ago},
    }
    cluster.leases.create_namespaced_lease(cluster.namespace, body)
    began = time.monotonic()
    with cluster.dispatching(SLOTS):
        assert time.monotonic() - began > 2


def test_candidate__lease_written_by_somebody_else__takes_it(cluster: ClusterFixture, seen: Observer) -> None:
    """The largest number of transitions, a holder with a line break, and annotations that leave no room for more."""
    body = {
        "metadata": {
            "name": labels.LEASE_NAME,
            "annotations": {"a": "x" * 200_000, labels.INTENT_ANNOTATION: "{" * 60_000},
        },
        "spec": {"holderIdentity": "x\nleading as y", "leaseDurationSeconds": 1, "leaseTransitions": 2**31 - 1},
    }
    cluster.leases.create_namespaced_lease(cluster.namespace, body)
    with cluster.dispatching(SLOTS):
        [run] = cluster.queue()
        seen.wait(lambda: run in seen.finished)


@pytest.mark.slow
def test_candidate__missing_rights__asks_with_growing_pauses(cluster: ClusterFixture) -> None:
    """Nobody but an administrator can help it; once that has happened it leads."""
    refused = cluster.proxy.add(Fault(Refuse(403, "Forbidden"), path="/leases", times=None))
    dispatcher = cluster.dispatcher(SLOTS)
    dispatcher.start()
    try:
        until(lambda: cluster.proxy.hits(refused) == 5)
        budget = [request.started for request in cluster.proxy.requests if request.fault is refused]
        assert budget[-1] - budget[-2] > 0.7
        cluster.proxy.remove(refused)
        until(lambda: dispatcher.leading)
    finally:
        dispatcher.stop()


def test_leader__leads_again_after_a_lost_renewal_and_an_outage_longer_than_its_lease(cluster: ClusterFixture) -> None:
    """It finds its own renewal in the Lease when that has run out already, and must not take itself for the leader."""
    timing = LeaseTiming(lease_seconds=600, renew_seconds=0.2, retry_seconds=0.1)
    passed_seconds = 0.0
    dispatcher = cluster.dispatcher(SLOTS, timing=timing, clock=lambda: time.monotonic() + passed_seconds)
    dispatcher.start()
    try:
        until(lambda: dispatcher.leading)
        cluster.proxy.add(Fault(Refuse(500, "InternalError"), when=is_look, times=None))
        lost = cluster.proxy.add(Fault(LoseResponse(), when=is_renewal))
        until(lambda: cluster.proxy.hits(lost))
        passed_seconds = 601.0
        until(lambda: not dispatcher.leading)
        cluster.proxy.heal()
        until(lambda: dispatcher.leading)
    finally:
        dispatcher.stop()
