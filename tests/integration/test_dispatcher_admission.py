"""What a dispatcher admits, in which order, and what it lives with when people change runs by hand."""

import json

import pytest

from app.dispatcher.admission_rules import WRITERS
from app.kube import labels
from tests.integration.dispatching import LONG, MERGE_PATCH, Stage, until
from tests.support.faults import Fault, Refuse, Request
from tests.support.observer import Observer

DENIED = 'admission webhook "policy" denied the request: no'


def is_write_of_runs(request: Request) -> bool:
    return request.method in ("PATCH", "POST") and "/leases" not in request.path and (request.status or 0) < 300


def test_runs_start_in_the_order_of_their_queue_and_never_more_than_there_are_slots(
    stage: Stage, seen: Observer
) -> None:
    """Ten runs, two slots: each starts once, two at a time at most, and at most one place off."""
    names = stage.queue(count=10)
    with stage.dispatching({"fib": 2}):
        seen.wait(lambda: seen.finished >= set(names))
    assert all(abs(seen.started.index(name) - place) < 2 for place, name in enumerate(names)), seen.started
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 2
    assert all(len(seen.pods[name]) == 1 for name in names)


def test_a_run_costs_three_writes_at_most(stage: Stage, seen: Observer) -> None:
    """Besides its creation, one admission and one Event, also for those that wait long enough to be told why."""
    with stage.dispatching({"fib": 1}):
        until(stage.is_settled)
        first = stage.queue(args=LONG)
        waiting = stage.queue(count=3)
        until(lambda: all(stage.reasons(name) for name in waiting))
        stage.delete(first[0])
        seen.wait(lambda: seen.finished >= set(waiting))
        for name in waiting:
            mine = [
                request
                for request in stage.proxy.requests
                if is_write_of_runs(request) and (name in request.path or name.encode() in request.body)
            ]
            assert len(mine) <= 2, mine


def test_an_idle_dispatcher_makes_no_calls_but_renewals(stage: Stage, seen: Observer) -> None:
    """Cost follows change: while nothing happens, only the lease is renewed; queued runs that wait cost nothing."""
    with stage.dispatching({"fib": 1}):
        stage.queue(args=LONG)
        [waiting] = stage.queue()
        until(lambda: stage.reasons(waiting))
        before = len(stage.proxy.requests)
        renewals = sum(request.method == "PUT" for request in stage.proxy.requests)
        stage.proxy.wait_for(lambda request: request.method == "PUT", count=renewals + 3)
        assert {request.method for request in stage.proxy.requests[before:]} == {"PUT"}


def test_a_run_waits_for_its_dependency_without_blocking_those_behind_it(stage: Stage, seen: Observer) -> None:
    """One whose dependency isn't ready is passed over, keeps its place, and starts once the dependency is ready."""
    stage.deploy("db", replicas=0)
    [waiting] = stage.queue(depends_on=("db",))
    behind = stage.queue(count=3)
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(behind))
        until(lambda: stage.reasons(waiting) == ["WaitingForDependencies"])
        assert waiting not in seen.starts
        later = stage.queue(count=2)
        stage.scale("db", replicas=1)
        seen.wait(lambda: seen.finished >= {waiting, *later})
    assert seen.starts[waiting] == 1
    assert seen.most_active["fib"] == 1


def test_a_dependency_that_goes_away_holds_back_what_has_not_started(stage: Stage, seen: Observer) -> None:
    """Readiness is judged when a slot becomes free, not when the run was queued."""
    stage.deploy("db", replicas=1)
    with stage.dispatching({"fib": 1}):
        [running] = stage.queue(args=LONG)
        seen.wait(lambda: running in seen.starts)
        [dependent] = stage.queue(depends_on=("db",))
        stage.scale("db", replicas=0)
        stage.await_ready("db", 0)
        [free] = stage.queue()
        stage.delete(running)
        seen.wait(lambda: free in seen.finished)
        assert dependent not in seen.starts
        stage.scale("db", replicas=1)
        seen.wait(lambda: dependent in seen.finished)


def test_a_run_with_an_unknown_dependency_says_so_and_waits(stage: Stage, seen: Observer) -> None:
    """What doesn't exist isn't ready."""
    [lost] = stage.queue(depends_on=("nowhere",))
    [other] = stage.queue()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        until(lambda: stage.reasons(lost) == ["WaitingForDependencies"])
    assert lost not in seen.starts


@pytest.mark.slow
def test_runs_of_a_definition_that_left_the_configuration_stay_queued_and_say_so(stage: Stage, seen: Observer) -> None:
    """They hold no slot, and wait for the definition to come back; those of other definitions go on."""
    slots = {"fib": 1}
    [orphan] = stage.queue("gone")
    [other] = stage.queue()
    with stage.dispatching(slots):
        seen.wait(lambda: other in seen.finished)
        until(lambda: stage.reasons(orphan) == ["DefinitionMissing"])
        assert orphan not in seen.starts
        slots["gone"] = 1
        seen.wait(lambda: orphan in seen.finished)


@pytest.mark.parametrize("status", [403, 422])
def test_a_run_that_is_refused_blocks_no_other_and_is_not_tried_in_a_tight_loop(
    stage: Stage, seen: Observer, status: int
) -> None:
    """An admission policy may refuse one run: the others take its turn, and it is tried again with growing pauses."""
    [refused] = stage.queue()
    others = stage.queue(count=3)
    fault = stage.proxy.add(Fault(Refuse(status, "Forbidden", DENIED), method="PATCH", path=refused, times=None))
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(others))
        assert refused not in seen.starts
        assert stage.proxy.hits(fault) < len(others) + 8
        stage.proxy.remove(fault)
        seen.wait(lambda: refused in seen.finished)
    assert seen.most_active["fib"] == 1


def test_when_every_run_is_refused_the_tries_are_few(stage: Stage, seen: Observer) -> None:
    """A policy must not turn into a call per queued run and moment; others lose nothing by it."""
    stage.queue(count=40)
    fault = stage.proxy.add(Fault(Refuse(403, "Forbidden", DENIED), method="PATCH", path="/fib-", times=None))
    with stage.dispatching({"fib": 3, "other": 2}):
        others = stage.queue("other", count=6)
        seen.wait(lambda: seen.finished >= set(others))
        tries = [request for request in stage.proxy.requests if request.fault is fault]
        lasted_seconds = tries[-1].started - tries[0].started
        assert len(tries) <= WRITERS - 1 + lasted_seconds / 0.1


def test_a_run_that_is_deleted_while_queued_never_starts(stage: Stage, seen: Observer) -> None:
    """Whoever may delete the Job has cancelled the run."""
    with stage.dispatching({"fib": 1}):
        [running] = stage.queue(args=LONG)
        seen.wait(lambda: running in seen.starts)
        cancelled, last = stage.queue(count=2)
        stage.delete(cancelled)
        seen.wait(lambda: cancelled in seen.gone)
        stage.delete(running)
        seen.wait(lambda: last in seen.finished)
    assert cancelled not in seen.starts


def test_a_run_that_is_started_by_hand_takes_a_slot(stage: Stage, seen: Observer) -> None:
    """Nobody asked the dispatcher, but it counts: no other run is admitted beside it."""
    [by_hand] = stage.queue(args=LONG)
    stage.suspend(by_hand, False)
    [queued] = stage.queue()
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(queued) == ["WaitingForSlot"])
        assert queued not in seen.starts
        stage.delete(by_hand)
        seen.wait(lambda: queued in seen.finished)
    assert seen.most_active["fib"] == 1


def test_a_run_that_is_suspended_by_hand_holds_its_slot_until_its_pods_are_gone(stage: Stage, seen: Observer) -> None:
    """Then it is queued again at its old place, after a pause; at no time are there more pods than slots."""
    with stage.dispatching({"fib": 1}):
        [first] = stage.queue(args=LONG)
        others = stage.queue(count=2)
        until(lambda: stage.job(first).status.active)
        stage.suspend(first, True)
        seen.wait(lambda: seen.starts.get(first) == 2)
        until(lambda: "SuspendedAgain" in stage.reasons(first))
        stage.delete(first)
        seen.wait(lambda: seen.finished >= set(others))
    assert seen.most_active["fib"] == 1


@pytest.mark.parametrize("text", ["{}", '["db"'])
def test_a_dependency_list_that_cannot_be_read_is_never_ready(stage: Stage, seen: Observer, text: str) -> None:
    """Nobody knows what such a run waits for, so it waits; a list that is mended by hand is taken up."""
    [garbled] = stage.queue(annotations={labels.DEPENDS_ON_ANNOTATION: text})
    [other] = stage.queue()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        assert garbled not in seen.starts
        patch = {"metadata": {"annotations": {labels.DEPENDS_ON_ANNOTATION: json.dumps([])}}}
        stage.batch.patch_namespaced_job(garbled, stage.name, patch, _content_type=MERGE_PATCH)
        seen.wait(lambda: garbled in seen.finished)


@pytest.mark.parametrize("text", ["", "yesterday", "9" * 400])
def test_a_time_that_cannot_be_read_gives_the_place_of_the_creation(stage: Stage, seen: Observer, text: str) -> None:
    """Garbage in an annotation neither stops the queue nor jumps it."""
    names = stage.queue(count=2, annotations={labels.QUEUED_AT_ANNOTATION: text}) + stage.queue(count=1)
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["fib"] == 1
