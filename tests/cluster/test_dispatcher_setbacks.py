"""What fails for one definition, or for one run, is its own affair: the others go on, and no slot is lost to it."""

from collections.abc import Iterator

import pytest

from app.cluster import keys
from tests.cluster.dispatching import LONG, Stage, until
from tests.faults import Action, Delay, Fault, FaultProxy, GoSilent, Hold, LoseRequest, Refuse, Request
from tests.observer import Observer


def is_patch(request: Request) -> bool:
    return request.method == "PATCH"


@pytest.fixture
def last(stage: Stage) -> Iterator[FaultProxy]:
    """The way of a dispatcher that leads first, and can be cut off."""
    with FaultProxy(stage.server.url, ca=stage.server.ca_file) as proxy:
        yield proxy


def cut_off(proxy: FaultProxy) -> None:
    """Have a dispatcher fall silent, as after a kill; what was sent is under way."""
    proxy.refuse_connections()
    proxy.cut_all()


@pytest.mark.parametrize("action", [Refuse(500, "InternalError"), GoSilent()], ids=["refused", "without an answer"])
def test_a_definition_whose_admissions_fail_keeps_no_other_waiting(
    stage: Stage, seen: Observer, action: Action
) -> None:
    """A webhook for one kind of Job is down: each of these runs is in doubt and is tried again, after the others."""
    stage.queue("bad", count=5)
    failing = stage.proxy.add(Fault(action, method="PATCH", path="/bad-", times=None))
    with stage.dispatching({"bad": 6, "fib": 1}):
        until(lambda: stage.proxy.strikes(failing) >= 2)
        others = stage.queue(count=3)
        seen.wait(lambda: seen.finished >= set(others))
        before = stage.proxy.strikes(failing)
        until(lambda: stage.proxy.strikes(failing) > before)
        stage.proxy.remove(failing)
        more = stage.queue("bad")
        seen.wait(lambda: seen.finished >= set(more))
    assert seen.most_active["bad"] <= 6


def test_a_run_whose_admission_fails_keeps_no_other_of_its_definition_waiting(stage: Stage, seen: Observer) -> None:
    """It holds one slot, for its admission may have been carried out; the others take turns at the second."""
    [bad] = stage.queue()
    others = stage.queue(count=4)
    stage.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path=bad, times=None))
    with stage.dispatching({"fib": 2}):
        seen.wait(lambda: seen.finished >= set(others))
    assert bad not in seen.starts
    assert seen.most_active["fib"] == 1


@pytest.mark.parametrize("allows_fence", [True, False])
def test_a_run_in_doubt_that_is_refused_gives_its_slot_to_the_others(
    stage: Stage, seen: Observer, allows_fence: bool
) -> None:
    """An admission is lost, and then a policy forbids the run: a fence settles it, or the policy itself does."""
    [refused] = stage.queue()
    others = stage.queue(count=2)
    stage.proxy.add(Fault(LoseRequest(), method="PATCH", path=refused))

    def forbids(request: Request) -> bool:
        return not allows_fence or b'"suspend": false' in request.body

    stage.proxy.add(Fault(Refuse(403, "Forbidden"), method="PATCH", path=refused, when=forbids, times=None))
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(others))
    assert refused not in seen.starts
    assert stage.holder() == "", "it stays in doubt"


def test_a_run_that_is_refused_stays_no_secret_of_the_last_leader(
    stage: Stage, seen: Observer, last: FaultProxy
) -> None:
    """The next one suspects that it was about to be admitted, finds it refused, and goes on."""
    [refused] = stage.queue()
    for proxy in (last, stage.proxy):
        proxy.add(Fault(Refuse(403, "Forbidden"), method="PATCH", path=refused, times=None))
    with stage.dispatching({"fib": 1}, proxy=last):
        [first] = stage.queue()
        seen.wait(lambda: first in seen.finished)
        cut_off(last)
        with stage.dispatching({"fib": 1}):
            others = stage.queue(count=2)
            seen.wait(lambda: seen.finished >= set(others))
        assert stage.holder() == "", "it stays in doubt"


def test_runs_that_are_refused_let_those_behind_them_pass(stage: Stage, seen: Observer) -> None:
    """Each is tried once, and goes to the end of the queue."""
    stage.queue(count=30)
    refused = stage.proxy.add(Fault(Refuse(403, "Forbidden"), method="PATCH", path="/fib-", times=30))
    [behind] = stage.queue()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: behind in seen.starts)
        assert stage.proxy.strikes(refused) == 30
    assert seen.started[0] == behind


def test_a_slow_api_server_has_no_run_admitted_on_old_news(stage: Stage, seen: Observer) -> None:
    """What was ready when the first of five was chosen is looked at again before the next one is written."""
    stage.deploy("db", replicas=1)
    names = stage.queue(count=5, depends_on=("db",), args=LONG)
    stage.proxy.add(Fault(Delay(before_seconds=1.0), method="PATCH", path="/jobs/", times=None))
    with stage.dispatching({"fib": 5}):
        stage.proxy.wait_for(is_patch)
        stage.scale("db", replicas=0)
        stage.await_ready("db", 0)
        until(lambda: any(stage.reasons(name) == ["WaitingForDependencies"] for name in names))
    assert len(seen.starts) == 1


def test_a_leader_that_is_stopped_before_it_has_settled_anything_hands_the_doubt_on(
    stage: Stage, seen: Observer, last: FaultProxy
) -> None:
    """It took over from one that fell silent, and never saw the queue: the next one must not think that all is well."""
    stage.deploy("db", replicas=1)
    hold = Hold()
    last.add(Fault(hold, method="PATCH", times=None))
    stage.queue(depends_on=("db",))
    with stage.dispatching({"fib": 1}, proxy=last):
        hold.wait_held()
        stage.scale("db", replicas=0)
        stage.await_ready("db", 0)
        [other] = stage.queue(args=LONG)
        cut_off(last)
        blind = stage.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), path="/deployments$", times=None))
        with stage.dispatching({"fib": 1}):
            until(lambda: stage.proxy.strikes(blind))
        assert stage.holder() != ""
        stage.proxy.remove(blind)
        with stage.dispatching({"fib": 1}):
            seen.wait(lambda: other in seen.starts)
            hold.release()
            last.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [other]


def test_a_run_that_came_late_with_an_early_place_hides_no_suspect(
    stage: Stage, seen: Observer, last: FaultProxy
) -> None:
    """A replica whose clock is behind has stored it after the last leader chose another: both may be under way."""
    hold = Hold()
    last.add(Fault(hold, method="PATCH", times=None))
    [chosen] = stage.queue()
    with stage.dispatching({"fib": 1}, proxy=last):
        hold.wait_held()
        cut_off(last)
        [early] = stage.queue(annotations={keys.QUEUED_AT_ANNOTATION: "2026-01-01T00:00:00.000000Z"}, args=LONG)
        with stage.dispatching({"fib": 1}):
            seen.wait(lambda: early in seen.starts)
            hold.release()
            last.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [early]
    assert chosen not in seen.starts
