"""What the dispatcher tells on runs that wait: each thing once, whoever leads, and no definition at another's cost."""

import pytest

from app.dispatcher.events import TOLD_PER_REASON
from tests.integration.dispatching import LONG, ClusterFixture, is_new_event, until
from tests.support.faults import Action, Fault, GoSilent, LoseRequest, LoseResponse, Refuse, Request, Truncate
from tests.support.observer import Observer
from tests.support.selection import slow


def told(cluster: ClusterFixture) -> list[Request]:
    return [request for request in cluster.proxy.requests if is_new_event(request)]


@pytest.mark.slow
def test_events__new_leader__does_not_repeat_an_event(cluster: ClusterFixture, seen: Observer) -> None:
    """Why a run waits is news once; a new leader doesn't tell it again, nor does a change that changes no cause."""
    [waiting] = cluster.queue(depends_on=("nowhere",))
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.reasons(waiting))
    [next_one] = cluster.queue(depends_on=("nowhere",))
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.reasons(next_one))
        passing = cluster.queue(count=2)
        seen.wait(lambda: seen.finished >= set(passing))
    assert cluster.reasons(waiting) == ["WaitingForDependencies"]


@pytest.mark.slow
def test_events__many_runs_wait_for_one_reason__go_to_the_first_runs(cluster: ClusterFixture, seen: Observer) -> None:
    """The others are told when they have come that far: a thousand runs that wait are no thousand Events."""
    [running] = cluster.queue(args=LONG)
    names = cluster.queue(count=TOLD_PER_REASON + 3)
    with cluster.dispatching({"fib": 1}):
        until(lambda: all(cluster.reasons(name) for name in names[:TOLD_PER_REASON]))
        assert running in seen.starts
        assert not any(cluster.reasons(name) for name in names[TOLD_PER_REASON:])
        for name in names[:3]:
            cluster.delete(name)
        until(lambda: all(cluster.reasons(name) for name in names[3:]))


@pytest.mark.parametrize(
    "action",
    [LoseResponse(), *slow(LoseRequest(), Truncate(40), Refuse(503, "ServiceUnavailable"), Refuse(429, "TooMany"))],
)
def test_events__failed_write__is_repeated_until_stored_once(cluster: ClusterFixture, action: Action) -> None:
    """Until it is stored, once."""
    fault = cluster.proxy.add(Fault(action, when=is_new_event, times=2))
    waiting = cluster.queue(count=2, depends_on=("nowhere",))
    with cluster.dispatching({"fib": 1}):
        until(lambda: all(cluster.reasons(name) == ["WaitingForDependencies"] for name in waiting))
    assert cluster.proxy.hits(fault) == 2


@pytest.mark.slow
def test_events__hang_during_shutdown__do_not_keep_the_lease(cluster: ClusterFixture) -> None:
    """A dispatcher that is to stop meanwhile gives it back."""
    cluster.queue(depends_on=("nowhere",))
    hanging = cluster.proxy.add(Fault(GoSilent(), when=is_new_event, times=None))
    with cluster.dispatching({"fib": 1}):
        until(lambda: cluster.proxy.hits(hanging))
    assert cluster.holder() == ""


def test_events__refused_write__is_not_repeated_and_blocks_no_other(cluster: ClusterFixture) -> None:
    """Nor is it tried again."""
    [first] = cluster.queue("first", depends_on=("nowhere",))
    refusal = Fault(Refuse(403, "Forbidden"), when=lambda one: is_new_event(one) and first.encode() in one.body)
    fault = cluster.proxy.add(refusal)
    others = cluster.queue("second", count=3, depends_on=("nowhere",))
    with cluster.dispatching({"first": 1, "second": 1}):
        until(lambda: all(cluster.reasons(name) for name in others))
        until(lambda: cluster.proxy.hits(fault) == 1)
    assert not cluster.reasons(first)


def test_events__no_waiting_run__are_neither_read_nor_written(cluster: ClusterFixture, seen: Observer) -> None:
    """A dispatcher whose runs all start soon needs none."""
    names = cluster.queue(count=3)
    with cluster.dispatching({"fib": 3}):
        seen.wait(lambda: seen.finished >= set(names))
    assert not [request for request in cluster.proxy.requests if request.path.endswith("/events")]


@pytest.mark.slow
def test_events__long_queue__does_not_delay_other_definitions(cluster: ClusterFixture) -> None:
    """A run is told after the first ones of another definition, not behind all of them."""
    cluster.queue("long", count=75, depends_on=("nowhere",))
    [short] = cluster.queue("short", depends_on=("nowhere",))
    with cluster.dispatching({"long": 1, "short": 1}):
        until(lambda: cluster.reasons(short))
    first = [request.body for request in told(cluster)][: TOLD_PER_REASON + 1]
    assert len([body for body in first if b'"short-slimfaas-job-' in body]) == 1
