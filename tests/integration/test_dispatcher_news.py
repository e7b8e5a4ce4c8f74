"""What the dispatcher tells on runs that wait: each thing once, whoever leads, and no definition at another's cost."""

from dataclasses import dataclass, field
from functools import partial

import pytest

from app.dispatcher.lease import LeaseTiming
from app.dispatcher.news import Newsroom
from app.dispatcher.tables import Changes, ReadinessByName, RunTable
from app.domain.readiness import unready_dependencies
from app.kube.parsing import read_run
from tests.integration.dispatching import Stage, is_new_event, until
from tests.support.clock import Clock
from tests.support.faults import Action, Fault, GoSilent, LoseResponse, Refuse, Request, Trickle, Truncate
from tests.support.observer import Observer

_MANY = 25
"""More Events than are written at a time."""


def is_read_of_events(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/events")


def told(stage: Stage) -> list[Request]:
    return [request for request in stage.proxy.requests if is_new_event(request)]


@dataclass
class Desk:
    """A newsroom at work on the runs that a stage has when this is made, in time that passes as the test says.

    Attributes:
        seconds: how many have passed.
    """

    stage: Stage
    clock: Clock = field(default_factory=Clock)
    seconds: int = 0

    def __post_init__(self) -> None:
        self._namespace = self.stage.connect()
        self._changes = Changes()
        self._runs = RunTable(self._changes)
        self._runs.replace([read_run(job) for job in self._namespace.objects(self._namespace.runs)])
        self._newsroom = Newsroom(self._namespace, self.clock)
        self._newsroom.open_term()

    def publish(self) -> bool:
        """Have a second pass, and what is new be told; whether something is left."""
        self.clock.now += 1
        self.seconds += 1
        unready = partial(unready_dependencies, readiness=ReadinessByName(()))
        return self._newsroom.publish(self._changes, self._runs, unready, {"fib": 1}, lambda: True)


def test_an_event_is_written_once_also_by_the_next_dispatcher(stage: Stage, seen: Observer) -> None:
    """Why a run waits is news once; a new leader doesn't tell it again, nor does a change that changes no cause."""
    [waiting] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(waiting))
    [next_one] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(next_one))
        passing = stage.queue(count=2)
        seen.wait(lambda: seen.finished >= set(passing))
    assert stage.reasons(waiting) == ["WaitingForDependencies"]


@pytest.mark.slow
def test_the_next_dispatcher_reads_what_was_told_and_tells_the_rest(stage: Stage) -> None:
    """However many were told already: no write is spent on them, so the one that wasn't need not wait for its turn."""
    waiting = stage.queue(count=_MANY, depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: all(stage.reasons(name) for name in waiting))
    before = len(told(stage))
    [untold] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(untold))
    assert len(told(stage)) == before + 1
    assert {request.status for request in told(stage)} == {201}


@pytest.mark.slow
@pytest.mark.parametrize(
    "action",
    [LoseResponse(), Truncate(40), GoSilent(), Refuse(503, "ServiceUnavailable"), Refuse(410, "Expired")],
)
def test_what_was_told_is_read_again_after_a_failure(stage: Stage, action: Action) -> None:
    """Until it is known, nothing is told; then what is missing is."""
    [waiting] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(waiting))
    fault = stage.proxy.add(Fault(action, method="GET", path="/events$"))
    [untold] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(untold))
    assert stage.proxy.hits(fault) == 1
    assert {request.status for request in told(stage)} == {201}


@pytest.mark.slow
def test_events_that_trickle_in_do_not_keep_the_lease(stage: Stage) -> None:
    """A dispatcher that is to stop while it reads them gives it back: the next one need not wait for its end."""
    stage.queue(depends_on=("nowhere",))
    hanging = stage.proxy.add(Fault(Trickle(pause_seconds=1), method="GET", path="/events$"))
    timing = LeaseTiming(lease_seconds=30, renew_seconds=1)
    with stage.dispatching({"fib": 1}, timing=timing):
        until(lambda: stage.proxy.hits(hanging))
    assert stage.holder() == ""


@pytest.mark.slow
def test_where_events_cannot_be_read_they_are_still_written(stage: Stage) -> None:
    """With the rights of an earlier version, what was told is told once more, which the API server refuses."""
    [waiting] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(waiting))
    stage.proxy.add(Fault(Refuse(403, "Forbidden"), method="GET", path="/events$", times=None))
    [untold] = stage.queue(depends_on=("nowhere",))
    with stage.dispatching({"fib": 1}):
        until(lambda: stage.reasons(untold))
    assert stage.reasons(waiting) == ["WaitingForDependencies"]


def test_a_long_queue_does_not_delay_the_news_of_other_definitions(stage: Stage) -> None:
    """Definitions are told in turns: a run is not behind all those of another one that came before."""
    stage.queue("long", count=3 * _MANY, depends_on=("nowhere",))
    [short] = stage.queue("short", depends_on=("nowhere",))
    with stage.dispatching({"long": 1, "short": 1}):
        until(lambda: stage.reasons(short))
    first_two = [request.body for request in told(stage)][:2]
    assert len([body for body in first_two if b'"short-slimfaas-job-' in body]) == 1


def test_without_news_nothing_is_read(stage: Stage, seen: Observer) -> None:
    """A dispatcher whose runs all start soon asks for no Event."""
    names = stage.queue(count=3)
    with stage.dispatching({"fib": 3}):
        seen.wait(lambda: seen.finished >= set(names))
    assert not [request for request in stage.proxy.requests if is_read_of_events(request)]


def test_while_events_get_no_answer_few_are_tried(stage: Stage) -> None:
    """What they are kept in may be down while Jobs are well: admissions must not wait for it every second."""
    [waiting] = stage.queue(depends_on=("nowhere",))
    away = stage.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="POST", path="/events$", times=None))
    desk = Desk(stage)
    while desk.seconds < 300:
        assert desk.publish()
    assert 5 <= stage.proxy.hits(away) <= 12
    stage.proxy.remove(away)
    while desk.publish():
        assert desk.seconds < 400
    assert stage.reasons(waiting) == ["WaitingForDependencies"]


@pytest.mark.parametrize(
    "action", [Refuse(503, "ServiceUnavailable"), Refuse(410, "Expired"), Refuse(200, "SomeProxy"), LoseResponse()]
)
def test_where_events_can_never_be_read_to_their_end_they_are_still_written(stage: Stage, action: Action) -> None:
    """There may be too many of others in the namespace: what was told is told once more after some tries."""
    [waiting] = stage.queue(depends_on=("nowhere",))
    fault = stage.proxy.add(Fault(action, method="GET", path="/events$", times=None))
    desk = Desk(stage)
    while desk.publish():
        assert desk.seconds < 100
    assert stage.reasons(waiting) == ["WaitingForDependencies"]
    assert stage.proxy.hits(fault) == 3


def test_an_event_that_gets_no_answer_keeps_no_other_from_being_told(stage: Stage) -> None:
    """It may be its own affair, as with a webhook for some: others are told, and it is tried less and less often."""
    [first] = stage.queue("first", depends_on=("nowhere",))
    others = stage.queue("second", count=_MANY, depends_on=("nowhere",))
    failing = stage.proxy.add(
        Fault(
            Refuse(500, "InternalError"), when=lambda one: is_new_event(one) and first.encode() in one.body, times=None
        )
    )
    desk = Desk(stage)
    while desk.seconds < 60:
        assert desk.publish()
    assert all(stage.reasons(name) for name in others)
    assert 3 <= stage.proxy.hits(failing) <= 7
    stage.proxy.remove(failing)
    while desk.publish():
        assert desk.seconds < 150
    assert len(stage.reasons(first)) == 1
