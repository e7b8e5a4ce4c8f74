"""What fails for one definition, or for one run, is its own affair: the others go on, and no slot is lost to it."""

from collections.abc import Mapping

import pytest

from app.common.types import Json
from app.dispatcher.admission import Admissions
from app.dispatcher.stopwatch import Starts
from app.dispatcher.tables import Changes, RunTable
from app.domain.run import Phase
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run
from tests.integration.dispatching import LONG, Stage, is_admission, until
from tests.support.clock import Clock
from tests.support.faults import Action, Delay, Fault, FaultProxy, GoSilent, Hold, LoseRequest, Refuse, Request
from tests.support.observer import Observer
from tests.support.selection import slow

FORBIDDEN = Refuse(403, "Forbidden")


def is_patch(request: Request) -> bool:
    return request.method == "PATCH"


class Desk:
    """Admissions of the runs that a stage has when this is made, in time that passes as they ask for it.

    Attributes:
        admissions: what is at work.
    """

    def __init__(self, stage: Stage, namespace: NamespacedClient | None = None) -> None:
        namespace = namespace or stage.connect()
        self._clock, self._changes = Clock(), Changes()
        self._runs = RunTable(self._changes)
        runs = [read_run(job) for job in namespace.objects(namespace.runs)]
        self._runs.replace(runs)
        self._uids = {run.name: run.uid for run in runs}
        self.admissions = Admissions(namespace, self._changes, self._clock, Starts(self._clock))

    def seconds_until_admitted(self, name: str, slots: Mapping[str, int]) -> float:
        """Go on until a run is admitted; how long that takes."""
        began, run = self._clock.now, self._runs.get(self._uids[name])
        while run is not None and run.phase is Phase.QUEUED:
            wait_seconds = self.admissions.cycle(self._runs, lambda _depends_on: (), slots, lambda: True)
            self._clock.now += min(max(wait_seconds, 0.01), 1.0)
            assert self._clock.now - began < 600, "it waits for ever"
            run = self._runs.get(self._uids[name])
        return self._clock.now - began


def silence(proxy: FaultProxy) -> None:
    """Have a dispatcher fall silent, as after a kill; what was sent is under way."""
    proxy.refuse_connections()
    proxy.cut_all()


@pytest.mark.parametrize(
    "action", [Refuse(500, "InternalError"), *slow(GoSilent())], ids=["refused", "without an answer"]
)
def test_a_definition_whose_admissions_fail_keeps_no_other_waiting(
    stage: Stage, seen: Observer, action: Action
) -> None:
    """A webhook for one kind of Job is down: each of these runs is in doubt and is tried again, after the others."""
    stage.queue("bad", count=5)
    failing = stage.proxy.add(Fault(action, method="PATCH", path="/bad-", times=None))
    with stage.dispatching({"bad": 6, "fib": 1}):
        until(lambda: stage.proxy.hits(failing) >= 2)
        others = stage.queue(count=3)
        seen.wait(lambda: seen.finished >= set(others))
        before = stage.proxy.hits(failing)
        until(lambda: stage.proxy.hits(failing) > before)
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


def test_a_run_in_doubt_that_is_refused_gives_its_slot_to_the_others(stage: Stage, seen: Observer) -> None:
    """An admission is lost, and then a policy forbids the run: a fence settles it."""
    [refused] = stage.queue()
    others = stage.queue(count=2)
    stage.proxy.add(Fault(LoseRequest(), method="PATCH", path=refused))
    stage.proxy.add(Fault(FORBIDDEN, path=refused, when=is_admission, times=None))
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(others))
    assert refused not in seen.starts
    assert stage.holder() == "", "it stays in doubt"


def test_a_run_that_is_refused_stays_no_secret_of_the_last_leader(
    stage: Stage, seen: Observer, cut_off: FaultProxy
) -> None:
    """The next one suspects that it was about to be admitted, finds it refused, and goes on."""
    [refused] = stage.queue()
    for proxy in (cut_off, stage.proxy):
        proxy.add(Fault(FORBIDDEN, path=refused, when=is_admission, times=None))
    with stage.dispatching({"fib": 1}, proxy=cut_off):
        [first] = stage.queue()
        seen.wait(lambda: first in seen.finished)
        silence(cut_off)
        with stage.dispatching({"fib": 1}):
            others = stage.queue(count=2)
            seen.wait(lambda: seen.finished >= set(others))
        assert stage.holder() == "", "it stays in doubt"


def test_where_no_fence_is_allowed_either_a_doubt_lasts_as_long_as_a_request_can(stage: Stage) -> None:
    """The API server may have let the admission in before it began to refuse."""
    [refused] = stage.queue()
    [other] = stage.queue()
    stage.proxy.add(Fault(LoseRequest(), method="PATCH", path=refused))
    stage.proxy.add(Fault(FORBIDDEN, method="PATCH", path=refused, times=None))
    desk = Desk(stage)
    assert 60 < desk.seconds_until_admitted(other, {"fib": 1}) < 120


def test_after_an_outage_those_that_are_well_are_not_behind_those_that_are_not(stage: Stage) -> None:
    """All have failed, and four go on failing: whoever has waited for longest goes first."""
    for number in range(4):
        stage.queue(f"bad{number}")
    [well] = stage.queue("good")
    stage.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path="/bad", times=None))
    stage.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path="/good", times=2))
    slots = {"good": 1} | {f"bad{number}": 1 for number in range(4)}
    assert Desk(stage).seconds_until_admitted(well, slots) < 30


def test_a_definition_for_which_the_api_server_is_too_busy_keeps_no_other_waiting(stage: Stage) -> None:
    """A webhook chooses its own status."""
    stage.queue("bad")
    [well] = stage.queue("good")
    stage.proxy.add(Fault(Refuse(429, "TooManyRequests"), method="PATCH", path="/bad-", times=None))
    assert Desk(stage).seconds_until_admitted(well, {"bad": 1, "good": 1}) < 5


def test_an_admission_that_the_cluster_takes_back_counts_as_refused(stage: Stage) -> None:
    """A webhook may suspend what was resumed, and say 200: the run goes behind the others."""

    class Unchanging(NamespacedClient):
        def patch_job(self, name: str, patch: Json) -> Json:
            return super().get_job(name) if name == taken_back else super().patch_job(name, patch)

    [taken_back] = stage.queue()
    [other] = stage.queue()
    desk = Desk(stage, Unchanging(stage.connect().transport))
    assert desk.seconds_until_admitted(other, {"fib": 1}) < 5
    assert not desk.admissions.in_doubt


def test_runs_that_are_refused_let_those_behind_them_pass(stage: Stage, seen: Observer) -> None:
    """Each is tried once, and goes to the end of the queue."""
    stage.queue(count=30)
    refused = stage.proxy.add(Fault(Refuse(403, "Forbidden"), method="PATCH", path="/fib-", times=30))
    [behind] = stage.queue()
    with stage.dispatching({"fib": 1}):
        seen.wait(lambda: behind in seen.starts)
        assert stage.proxy.hits(refused) == 30
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


@pytest.mark.slow
def test_a_leader_that_is_stopped_before_it_has_settled_anything_hands_the_doubt_on(
    stage: Stage, seen: Observer, cut_off: FaultProxy
) -> None:
    """It took over from one that fell silent, and never saw the queue: the next one must not think that all is well."""
    stage.deploy("db", replicas=1)
    hold = Hold()
    cut_off.add(Fault(hold, method="PATCH", times=None))
    stage.queue(depends_on=("db",))
    with stage.dispatching({"fib": 1}, proxy=cut_off):
        hold.wait_held()
        stage.scale("db", replicas=0)
        stage.await_ready("db", 0)
        [other] = stage.queue(args=LONG)
        silence(cut_off)
        blind = stage.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), path="/deployments$", times=None))
        with stage.dispatching({"fib": 1}):
            until(lambda: stage.proxy.hits(blind))
        assert stage.holder() != ""
        stage.proxy.remove(blind)
        with stage.dispatching({"fib": 1}):
            seen.wait(lambda: other in seen.starts)
            hold.release()
            cut_off.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [other]


def test_a_run_that_came_late_with_an_early_place_hides_no_suspect(
    stage: Stage, seen: Observer, cut_off: FaultProxy
) -> None:
    """A replica whose clock is behind has stored it after the last leader chose another: both may be under way."""
    hold = Hold()
    cut_off.add(Fault(hold, method="PATCH", times=None))
    [chosen] = stage.queue()
    with stage.dispatching({"fib": 1}, proxy=cut_off):
        hold.wait_held()
        silence(cut_off)
        [early] = stage.queue(annotations={labels.QUEUED_AT_ANNOTATION: "2026-01-01T00:00:00.000000Z"}, args=LONG)
        with stage.dispatching({"fib": 1}):
            seen.wait(lambda: early in seen.starts)
            hold.release()
            cut_off.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [early]
    assert chosen not in seen.starts
