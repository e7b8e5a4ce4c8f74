"""What a dispatcher admits, in which order, and what it lives with when people change runs by hand."""

import json

import pytest

from app.dispatcher.write import PROMPT_WRITERS
from app.kube import labels
from tests.integration.dispatching import LONG, MERGE_PATCH, ClusterFixture, until
from tests.support.faults import Fault, Refuse, Request
from tests.support.observer import Observer

DENIED = 'admission webhook "policy" denied the request: no'


def is_write_of_runs(request: Request) -> bool:
    return request.method in ("PATCH", "POST") and "/leases" not in request.path and (request.status or 0) < 300


def test_dispatcher__more_runs_than_slots__admits_in_queue_order(cluster: ClusterFixture, seen: Observer) -> None:
    """Ten runs, two slots: each starts once, two at a time at most, and at most one place off."""
    names = cluster.queue(count=10)
    with cluster.dispatching({"fib": 2}):
        seen.wait(lambda: seen.finished >= set(names))
    assert all(abs(seen.started.index(name) - place) < 2 for place, name in enumerate(names)), seen.started
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 2
    seen.wait(lambda: all(seen.pods[name] for name in names))  # the pods have a watch of their own
    assert all(len(seen.pods[name]) == 1 for name in names)


def test_dispatcher__each_run__costs_three_writes_at_most(cluster: ClusterFixture, seen: Observer) -> None:
    """Besides its creation, one admission and one Event, also for those that wait long enough to be told why."""
    with cluster.dispatching({"fib": 1}):
        until(cluster.is_settled)
        first = cluster.queue(args=LONG)
        waiting = cluster.queue(count=3)
        until(lambda: all(cluster.reasons(name) for name in waiting))
        cluster.delete(first[0])
        seen.wait(lambda: seen.finished >= set(waiting))
        for name in waiting:
            mine = [
                request
                for request in cluster.proxy.requests
                if is_write_of_runs(request) and (name in request.path or name.encode() in request.body)
            ]
            assert len(mine) <= 2, mine


def test_dispatcher__idle__only_renews_the_lease(cluster: ClusterFixture, seen: Observer) -> None:
    """Cost follows change: while nothing happens, only the lease is renewed; queued runs that wait cost nothing."""
    with cluster.dispatching({"fib": 1}):
        cluster.queue(args=LONG)
        [waiting] = cluster.queue()
        until(lambda: cluster.reasons(waiting))
        before = len(cluster.proxy.requests)
        renewals = sum(request.method == "PUT" for request in cluster.proxy.requests)
        cluster.proxy.wait_for(lambda request: request.method == "PUT", count=renewals + 3)
        assert {request.method for request in cluster.proxy.requests[before:]} == {"PUT"}


def test_dispatcher__unready_dependency__passes_over_the_run(cluster: ClusterFixture, seen: Observer) -> None:
    """One whose dependency isn't ready is passed over, keeps its place, and starts once the dependency is ready."""
    cluster.deploy("db", replicas=0)
    [waiting] = cluster.queue(depends_on=("db",))
    behind = cluster.queue(count=3)
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(behind))
        until(lambda: cluster.reasons(waiting) == ["WaitingForDependencies"])
        assert waiting not in seen.starts
        later = cluster.queue(count=2)
        cluster.scale("db", replicas=1)
        seen.wait(lambda: seen.finished >= {waiting, *later})
    assert seen.starts[waiting] == 1
    assert seen.most_active["fib"] == 1


def test_dispatcher__dependency_becomes_unready__admits_no_further_run(cluster: ClusterFixture, seen: Observer) -> None:
    """Readiness is judged when a slot becomes free, not when the run was queued."""
    cluster.deploy("db", replicas=1)
    with cluster.dispatching({"fib": 1}):
        [running] = cluster.queue(args=LONG)
        seen.wait(lambda: running in seen.starts)
        [dependent] = cluster.queue(depends_on=("db",))
        cluster.scale("db", replicas=0)
        cluster.await_ready("db", 0)
        # The watch of Deployments may be behind that of Jobs.
        until(lambda: "WaitingForDependencies" in cluster.reasons(dependent))
        [free] = cluster.queue()
        cluster.delete(running)
        seen.wait(lambda: free in seen.finished)
        assert dependent not in seen.starts
        cluster.scale("db", replicas=1)
        seen.wait(lambda: dependent in seen.finished)


def test_dispatcher__unknown_dependency__keeps_the_run_queued_with_a_reason(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """What doesn't exist isn't ready."""
    [lost] = cluster.queue(depends_on=("nowhere",))
    [other] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        until(lambda: cluster.reasons(lost) == ["WaitingForDependencies"])
    assert lost not in seen.starts


@pytest.mark.slow
def test_dispatcher__removed_definition__keeps_its_runs_queued_with_a_reason(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """They hold no slot, and wait for the definition to come back; those of other definitions go on."""
    slots = {"fib": 1}
    [orphan] = cluster.queue("gone")
    [other] = cluster.queue()
    with cluster.dispatching(slots):
        seen.wait(lambda: other in seen.finished)
        until(lambda: cluster.reasons(orphan) == ["DefinitionMissing"])
        assert orphan not in seen.starts
        slots["gone"] = 1
        seen.wait(lambda: orphan in seen.finished)


@pytest.mark.parametrize("status", [403, 422])
def test_dispatcher__refused_run__is_retried_with_pauses_and_blocks_no_other(
    cluster: ClusterFixture, seen: Observer, status: int
) -> None:
    """An admission policy may refuse one run: the others take its turn, and it is tried again with growing pauses."""
    [refused] = cluster.queue()
    others = cluster.queue(count=3)
    fault = cluster.proxy.add(Fault(Refuse(status, "Forbidden", DENIED), method="PATCH", path=refused, times=None))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(others))
        assert refused not in seen.starts
        assert cluster.proxy.hits(fault) < len(others) + 8
        cluster.proxy.remove(fault)
        seen.wait(lambda: refused in seen.finished)
    assert seen.most_active["fib"] == 1


def test_dispatcher__all_runs_refused__makes_few_attempts(cluster: ClusterFixture, seen: Observer) -> None:
    """A policy must not turn into a call per queued run and moment; others lose nothing by it."""
    cluster.queue(count=40)
    fault = cluster.proxy.add(Fault(Refuse(403, "Forbidden", DENIED), method="PATCH", path="/fib-", times=None))
    with cluster.dispatching({"fib": 3, "other": 2}):
        others = cluster.queue("other", count=6)
        seen.wait(lambda: seen.finished >= set(others))
        tries = [request for request in cluster.proxy.requests if request.fault is fault]
        lasted_seconds = tries[-1].started - tries[0].started
        assert len(tries) <= PROMPT_WRITERS - 1 + lasted_seconds / 0.1


def test_dispatcher__run_deleted_while_queued__is_never_started(cluster: ClusterFixture, seen: Observer) -> None:
    """Whoever may delete the Job has cancelled the run."""
    with cluster.dispatching({"fib": 1}):
        [running] = cluster.queue(args=LONG)
        seen.wait(lambda: running in seen.starts)
        cancelled, last = cluster.queue(count=2)
        cluster.delete(cancelled)
        seen.wait(lambda: cancelled in seen.gone)
        cluster.delete(running)
        seen.wait(lambda: last in seen.finished)
    assert cancelled not in seen.starts


def test_dispatcher__run_started_by_hand__takes_a_slot(cluster: ClusterFixture, seen: Observer) -> None:
    """Nobody asked the dispatcher, but it counts: no other run is admitted beside it."""
    [by_hand] = cluster.queue(args=LONG)
    cluster.suspend(by_hand, False)
    [queued] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.reasons(queued) == ["WaitingForSlot"])
        assert queued not in seen.starts
        cluster.delete(by_hand)
        seen.wait(lambda: queued in seen.finished)
    assert seen.most_active["fib"] == 1


def test_dispatcher__run_suspended_by_hand__holds_its_slot_until_its_pods_are_gone(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Then it is queued again at its old place, after a pause; at no time are there more pods than slots."""
    with cluster.dispatching({"fib": 1}):
        [first] = cluster.queue(args=LONG)
        others = cluster.queue(count=2)
        until(lambda: cluster.job(first).status.active)
        cluster.suspend(first, True)
        seen.wait(lambda: seen.starts.get(first) == 2)
        until(lambda: "SuspendedAgain" in cluster.reasons(first))
        cluster.delete(first)
        seen.wait(lambda: seen.finished >= set(others))
    assert seen.most_active["fib"] == 1


@pytest.mark.parametrize("text", ["{}", '["db"'])
def test_dispatcher__unreadable_dependency_list__keeps_the_run_queued(
    cluster: ClusterFixture, seen: Observer, text: str
) -> None:
    """Nobody knows what such a run waits for, so it waits; a list that is mended by hand is taken up."""
    [garbled] = cluster.queue(annotations={labels.DEPENDS_ON_ANNOTATION: text})
    [other] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        assert garbled not in seen.starts
        patch = {"metadata": {"annotations": {labels.DEPENDS_ON_ANNOTATION: json.dumps([])}}}
        cluster.batch.patch_namespaced_job(garbled, cluster.namespace, patch, _content_type=MERGE_PATCH)
        seen.wait(lambda: garbled in seen.finished)


@pytest.mark.parametrize("text", ["", "yesterday", "9" * 400])
def test_dispatcher__unreadable_queue_time__uses_the_creation_time(
    cluster: ClusterFixture, seen: Observer, text: str
) -> None:
    """Garbage in an annotation neither stops the queue nor jumps it."""
    names = cluster.queue(count=2, annotations={labels.QUEUED_AT_ANNOTATION: text}) + cluster.queue(count=1)
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 1
