"""What fails for one definition, or for one run, is its own affair: the others go on, and no slot is lost to it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.common.types import Json
from app.dispatcher import admissions as admissions_module
from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.lease import SeenLease
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.start_latency import StartLatency
from app.dispatcher.write import PROMPT_WRITERS
from app.dispatcher.writers import carry_out
from app.domain.pending_reason import PendingReason
from app.domain.run import Phase, Run
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.kube.manifests import format_time
from app.kube.parsing import read_run
from tests.integration.dispatching import LONG, QUICK, ClusterFixture, is_admission, until
from tests.support.clock import Clock
from tests.support.faults import Action, Delay, Fault, FaultProxy, GoSilent, Hold, LoseRequest, Refuse, Request
from tests.support.observer import Observer
from tests.support.selection import slow

DENIED = Refuse(403, "Forbidden", 'admission webhook "policy" denied the request: no')
FORBIDDEN = Refuse(403, "Forbidden", 'User "x" cannot patch resource "jobs" in API group "batch"')


def is_patch(request: Request) -> bool:
    return request.method == "PATCH"


class AdmissionHarness:
    """Admissions of the runs that a cluster has when this is made, one write after the other, in time of its own.

    Attributes:
        admissions: what is at work.
        admitted: the names of the runs that were admitted, in order.
        told: what was told on runs.
    """

    def __init__(self, cluster: ClusterFixture, client: NamespacedClient | None = None) -> None:
        self._client = client or cluster.connect()
        self._clock = Clock()
        self.admitted: list[str] = []
        self.told: list[tuple[str, PendingReason]] = []
        ends = RunEnds(self._clock, lambda _end: None)
        self.admissions = Admissions(
            "harness", ChangeSignal(), self._clock, self._clock, StartLatency(self._clock), ends, self._tell
        )
        leadership = self.admissions.leadership.look(SeenLease("1", "", 0, 0, None))
        base = SeenLease("1", "", 0, 0, leadership.prepare_take()[1]._replace(complete=True))
        leadership, intent = leadership._replace(claim=leadership.claim._replace(base=base)).prepare_take()
        self.admissions.leadership = leadership.stored(SeenLease("2", "harness", 15, 1, intent))
        runs = [read_run(job) for job in self._client.objects(self._client.runs)]
        self.admissions.runs.replace(runs, max((run.resource_version for run in runs), default=0))
        self.admissions.set_current(True)
        intent = self.admissions.prepare_renewal({})
        self.admissions.leadership = self.admissions.leadership.stored(SeenLease("3", "harness", 15, 1, intent))
        self._uids = {run.name: run.uid for run in runs}

    def _tell(self, run: Run, reason: PendingReason, _message: str) -> None:
        self.told.append((run.name, reason))

    def step(self, slots: Mapping[str, int]) -> None:
        """Make what is to be written now, and let time pass until there may be more."""
        admissions = self.admissions
        admissions.refresh_term()
        if admissions.wants_intent(slots):
            intent = admissions.prepare_renewal(slots)
            admissions.leadership = admissions.leadership.stored(SeenLease("3", "harness", 15, 1, intent))
        while (write := admissions.take_write(slots)) is not None:
            try:
                answer: Run | ClusterError = carry_out(self._client, write)
            except ClusterError as error:
                answer = error
            admissions.ended(write, answer)
            if isinstance(answer, Run) and answer.phase is Phase.ADMITTED:
                self.admitted.append(write.name)
        self._clock.now += min(max(admissions.seconds_until_due(), 0.01), 1.0)

    def seconds_until_admitted(self, name: str, slots: Mapping[str, int], *, at_most: float = 600.0) -> float:
        """Go on until a run is admitted; returns how long that takes."""
        began = self._clock.now
        while name not in self.admitted:
            self.step(slots)
            assert self._clock.now - began < at_most, "it waits for ever"
        return self._clock.now - began

    def is_admitted_within(self, name: str, slots: Mapping[str, int], seconds: float) -> bool:
        """Go on for so long; returns whether the run is admitted by then."""
        ends = self._clock.now + seconds
        while self._clock.now < ends and name not in self.admitted:
            self.step(slots)
        return name in self.admitted


def silence(proxy: FaultProxy) -> None:
    """Have a dispatcher fall silent, as after a kill; what was sent is under way."""
    proxy.refuse_connections()
    proxy.cut_all()


@pytest.mark.parametrize(
    "action", [Refuse(500, "InternalError"), *slow(GoSilent())], ids=["refused", "without an answer"]
)
def test_dispatcher__failing_definition__delays_no_other(
    cluster: ClusterFixture, seen: Observer, action: Action
) -> None:
    """A webhook for one kind of Job is down: each of these runs is in doubt and is tried again, after the others."""
    cluster.queue("bad", count=5)
    failing = cluster.proxy.add(Fault(action, method="PATCH", path="/bad-", times=None))
    with cluster.dispatching({"bad": 6, "fib": 1}):
        until(lambda: cluster.proxy.hits(failing) >= 2)
        others = cluster.queue(count=3)
        seen.wait(lambda: seen.finished >= set(others))
        before = cluster.proxy.hits(failing)
        until(lambda: cluster.proxy.hits(failing) > before)
        cluster.proxy.remove(failing)
        more = cluster.queue("bad")
        seen.wait(lambda: seen.finished >= set(more))
    assert seen.most_active["bad"] <= 6


@pytest.mark.slow
def test_dispatcher__run_whose_admission_fails__holds_only_one_slot_of_its_definition(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """It holds one slot, for its admission may have been carried out; the others take turns at the second."""
    [bad] = cluster.queue()
    others = cluster.queue(count=4)
    cluster.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path=bad, times=None))
    with cluster.dispatching({"fib": 2}):
        seen.wait(lambda: seen.finished >= set(others))
    assert bad not in seen.starts
    assert seen.most_active["fib"] == 1


def test_dispatcher__run_in_doubt_is_refused__frees_its_slot(cluster: ClusterFixture, seen: Observer) -> None:
    """An admission is lost, and then a policy forbids the run: a fence settles it."""
    [refused] = cluster.queue()
    others = cluster.queue(count=2)
    cluster.proxy.add(Fault(LoseRequest(), method="PATCH", path=refused))
    cluster.proxy.add(Fault(DENIED, path=refused, when=is_admission, times=None))
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: seen.finished >= set(others))
    assert refused not in seen.starts
    assert cluster.holder() == "", "it stays in doubt"


@pytest.mark.slow
def test_dispatcher__run_of_the_last_intent_is_refused__frees_its_slot(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """The next one suspects that it was about to be admitted, finds it refused, and goes on."""
    [refused] = cluster.queue()
    for proxy in (cut_off, cluster.proxy):
        proxy.add(Fault(DENIED, path=refused, when=is_admission, times=None))
    with cluster.dispatching({"fib": 1}, proxy=cut_off, timing=QUICK):
        [first] = cluster.queue()
        seen.wait(lambda: first in seen.finished)
        silence(cut_off)
        with cluster.dispatching({"fib": 1}):
            others = cluster.queue(count=2)
            seen.wait(lambda: seen.finished >= set(others))
        assert cluster.holder() == "", "it stays in doubt"


def test_dispatcher__fence_is_refused__holds_the_slot(cluster: ClusterFixture) -> None:
    """An admission was lost and may still arrive, however long ago that was: no other run gets the slot."""
    [refused] = cluster.queue()
    [other] = cluster.queue()
    cluster.proxy.add(Fault(LoseRequest(), method="PATCH", path=refused))
    denied = cluster.proxy.add(Fault(DENIED, method="PATCH", path=refused, times=None))
    harness = AdmissionHarness(cluster)
    assert not harness.is_admitted_within(other, {"fib": 1}, 600)
    assert harness.admissions.in_doubt() == 1
    cluster.proxy.remove(denied)
    assert harness.seconds_until_admitted(refused, {"fib": 1}) < 60


def test_dispatcher__outage_ends__serves_the_longest_waiting_definition_first(cluster: ClusterFixture) -> None:
    """All have failed, and four go on failing: whoever has waited for longest goes first."""
    for number in range(4):
        cluster.queue(f"bad{number}")
    [well] = cluster.queue("good")
    cluster.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path="/bad", times=None))
    cluster.proxy.add(Fault(Refuse(500, "InternalError"), method="PATCH", path="/good", times=2))
    slots = {"good": 1} | {f"bad{number}": 1 for number in range(4)}
    assert AdmissionHarness(cluster).seconds_until_admitted(well, slots) < 30


def test_dispatcher__status_429_for_one_definition__delays_no_other(cluster: ClusterFixture) -> None:
    """A webhook chooses its own status."""
    cluster.queue("bad")
    [well] = cluster.queue("good")
    cluster.proxy.add(Fault(Refuse(429, "TooManyRequests"), method="PATCH", path="/bad-", times=None))
    assert AdmissionHarness(cluster).seconds_until_admitted(well, {"bad": 1, "good": 1}) < 5


def test_dispatcher__webhook_suspends_the_run_again__counts_as_refused(cluster: ClusterFixture) -> None:
    """A webhook may suspend what was resumed, and say 200: the run goes behind the others."""

    class Unchanging(NamespacedClient):
        def patch_job(self, name: str, patch: Json, **options: Any) -> Json:
            return super().get_job(name) if name == taken_back else super().patch_job(name, patch, **options)

    [taken_back] = cluster.queue()
    [other] = cluster.queue()
    harness = AdmissionHarness(cluster, Unchanging(cluster.connect().transport))
    assert harness.seconds_until_admitted(other, {"fib": 1}) < 5
    assert not harness.admissions.in_doubt()


@pytest.mark.slow
def test_dispatcher__refused_runs__move_to_the_end_of_the_queue(cluster: ClusterFixture, seen: Observer) -> None:
    """Each is tried once, and goes to the end of the queue."""
    cluster.queue(count=30)
    refused = cluster.proxy.add(Fault(DENIED, path="/fib-", when=is_admission, times=30))
    [behind] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: behind in seen.starts)
        assert cluster.proxy.hits(refused) == 30
    assert seen.started[0] == behind


@pytest.mark.slow
def test_dispatcher__slow_api_server__checks_dependencies_before_each_write(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """What was ready when the first of five was chosen is looked at again before the next one is written."""
    cluster.deploy("db", replicas=1)
    names = cluster.queue(count=5, depends_on=("db",), args=LONG)
    cluster.proxy.add(Fault(Delay(before_seconds=1.0), method="PATCH", path="/jobs/", times=None))
    with cluster.dispatching({"fib": 5}):
        cluster.proxy.wait_for(is_patch)
        cluster.scale("db", replicas=0)
        cluster.await_ready("db", 0)
        until(lambda: any(cluster.reasons(name) == ["WaitingForDependencies"] for name in names))
    assert len(seen.starts) < PROMPT_WRITERS, "more were sent than were under way"


@pytest.mark.slow
def test_dispatcher__stopped_before_its_first_list__hands_on_what_is_in_doubt(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """It took over from one that fell silent, and never saw the queue: the next one must not think that all is well."""
    cluster.deploy("db", replicas=1)
    hold = Hold()
    cut_off.add(Fault(hold, method="PATCH", times=None))
    cluster.queue(depends_on=("db",))
    with cluster.dispatching({"fib": 1}, proxy=cut_off, timing=QUICK):
        hold.wait_held()
        cluster.scale("db", replicas=0)
        cluster.await_ready("db", 0)
        [other] = cluster.queue(args=LONG)
        silence(cut_off)
        blind = cluster.proxy.add(Fault(Refuse(503, "ServiceUnavailable"), path="/deployments$", times=None))
        with cluster.dispatching({"fib": 1}):
            until(lambda: cluster.proxy.hits(blind))
        assert cluster.holder() != ""
        cluster.proxy.remove(blind)
        with cluster.dispatching({"fib": 1}):
            seen.wait(lambda: other in seen.starts)
            hold.release()
            cut_off.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [other]


@pytest.mark.slow
def test_dispatcher__late_run_with_an_early_queue_time__hides_no_run_in_doubt(
    cluster: ClusterFixture, seen: Observer, cut_off: FaultProxy
) -> None:
    """A replica whose clock is behind has stored it after the last leader chose another: both may be under way."""
    hold = Hold()
    cut_off.add(Fault(hold, method="PATCH", times=None))
    [chosen] = cluster.queue()
    with cluster.dispatching({"fib": 1}, proxy=cut_off, timing=QUICK):
        hold.wait_held()
        silence(cut_off)
        behind = format_time(datetime.now(UTC) - timedelta(seconds=30))
        [early] = cluster.queue(annotations={labels.QUEUED_AT_ANNOTATION: behind}, args=LONG)
        with cluster.dispatching({"fib": 1}):
            seen.wait(lambda: early in seen.starts)
            hold.release()
            cut_off.wait_for(lambda request: is_patch(request) and request.status == 409)
    assert seen.started == [early]
    assert chosen not in seen.starts


def test_dispatcher__missing_right__keeps_the_queue_order(cluster: ClusterFixture) -> None:
    """It is the service that may not write, and no fault of the run that happens to be first."""
    names = cluster.queue(count=40)
    cluster.proxy.add(Fault(FORBIDDEN, method="PATCH", times=25))
    harness = AdmissionHarness(cluster)
    harness.seconds_until_admitted(names[-1], {"fib": 40})
    assert harness.admitted == names


def test_dispatcher__missing_right__makes_few_calls(cluster: ClusterFixture) -> None:
    """Queued runs are not tried one after the other."""
    [first] = cluster.queue()
    cluster.queue(count=40)
    refused = cluster.proxy.add(Fault(FORBIDDEN, method="PATCH", times=None))
    harness = AdmissionHarness(cluster)
    assert not harness.is_admitted_within(first, {"fib": 3}, 60)
    assert cluster.proxy.hits(refused) < 60


def test_dispatcher__refused_run__gets_an_event_with_the_reason(cluster: ClusterFixture) -> None:
    """Every wait names its reason."""
    [refused] = cluster.queue()
    [other] = cluster.queue()
    cluster.proxy.add(Fault(DENIED, method="PATCH", path=refused, times=None))
    harness = AdmissionHarness(cluster)
    harness.seconds_until_admitted(other, {"fib": 1})
    assert harness.told[0] == (refused, PendingReason.REFUSED)


@pytest.mark.slow
def test_dispatcher__run_suspended_again_and_again__is_started_with_growing_pauses(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """Somebody's controller and the dispatcher must not fight; the other runs of its definition go on."""
    [fought] = cluster.queue(args=LONG)
    others = cluster.queue(count=4)
    admissions = 0
    with cluster.dispatching({"fib": 1}):
        for _ in range(3):
            admissions += 1
            cluster.proxy.wait_for(lambda one: is_admission(one) and fought in one.path, count=admissions)
            until(lambda: not cluster.job(fought).spec.suspend)
            cluster.suspend(fought, True)
        seen.wait(lambda: seen.finished >= set(others))
        until(lambda: "SuspendedAgain" in cluster.reasons(fought))
    tries = [one for one in cluster.proxy.requests if is_admission(one) and fought in one.path]
    assert len(tries) <= 4
    assert tries[2].started - tries[1].started > 1.5


def test_dispatcher__held_run__waits_until_it_is_released(cluster: ClusterFixture, seen: Observer) -> None:
    """An annotation keeps it in the queue, and says so; the others go on."""
    [held] = cluster.queue(annotations={labels.HOLD_ANNOTATION: "until Monday"})
    [other] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        until(lambda: cluster.reasons(held) == ["Held"])
        assert held not in seen.starts
        patch = {"metadata": {"annotations": {labels.HOLD_ANNOTATION: None}}}
        cluster.batch.patch_namespaced_job(held, cluster.namespace, patch)
        seen.wait(lambda: held in seen.finished)


def test_dispatcher__run_managed_by_another_controller__is_not_started(cluster: ClusterFixture, seen: Observer) -> None:
    """`spec.managedBy` says who starts it."""
    [foreign] = cluster.queue(managed_by="example.com/other")
    [other] = cluster.queue()
    with cluster.dispatching({"fib": 1}):
        seen.wait(lambda: other in seen.finished)
        until(lambda: cluster.reasons(foreign) == ["ManagedByOther"])
    assert not [one for one in cluster.proxy.requests if is_admission(one) and foreign in one.path]


def test_dispatcher__events_hang__delay_no_admission(cluster: ClusterFixture, seen: Observer) -> None:
    """Events are written by a thread of their own."""
    cluster.queue(count=5, depends_on=("nowhere",))
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="POST", path="/events$", times=None))
    with cluster.dispatching({"fib": 2}):
        hold.wait_held()
        names = cluster.queue(count=6)
        seen.wait(lambda: set(names) <= set(seen.starts))
        hold.release()


def test_dispatcher__hanging_definitions__leave_a_writer_to_others(cluster: ClusterFixture, seen: Observer) -> None:
    """However many hang: the healthy one needs no answer of theirs."""
    names = [f"bad{number}" for number in range(5)]
    for name in names:
        cluster.queue(name, count=3)
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="PATCH", path="/bad", times=None))
    with cluster.dispatching(dict.fromkeys(names, 3) | {"well": 50}):
        hold.wait_held(5)
        well = cluster.queue("well", count=12)
        seen.wait(lambda: set(well) <= set(seen.starts))
        hold.release()


@pytest.fixture
def nothing_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no write count as slow, however slow the machine is. A slow one makes room for a further write."""
    monkeypatch.setattr(admissions_module, "SLOW_SECONDS", 3600.0)


@pytest.mark.usefixtures("nothing_is_slow")
def test_dispatcher__ten_untried_definitions_hang__leave_a_writer_to_one_that_succeeds(
    cluster: ClusterFixture, seen: Observer
) -> None:
    """It needs no answer of theirs, and none of their writes has to be given up."""
    names = [f"bad{number}" for number in range(10)]
    hold = Hold()
    cluster.proxy.add(Fault(hold, method="PATCH", path="/bad", times=None))
    with cluster.dispatching(dict.fromkeys(names, 1) | {"well": 50}):
        [first] = cluster.queue("well")
        seen.wait(lambda: first in seen.starts)
        for name in names:
            cluster.queue(name)
        hold.wait_held(PROMPT_WRITERS - 1)
        [well] = cluster.queue("well")
        cluster.proxy.wait_for(lambda one: is_admission(one) and well in one.path)
        hold.release()
    patches = [one.path for one in cluster.proxy.requests if is_admission(one)]
    place = next(index for index, path in enumerate(patches) if well in path)
    assert place - 1 <= PROMPT_WRITERS - 1


@pytest.mark.usefixtures("nothing_is_slow")
@pytest.mark.parametrize("has_succeeded", [False, True])
def test_dispatcher__slow_webhook_of_one_definition__delays_no_other(
    cluster: ClusterFixture, seen: Observer, has_succeeded: bool
) -> None:
    """A writer is free, so none of the eight runs goes first. A definition that is slow gets no further writer."""
    hold = Hold()
    if not has_succeeded:
        cluster.proxy.add(Fault(hold, method="PATCH", path="/slow-", times=None))
    with cluster.dispatching({"slow": 9, "quick": 1}):
        if has_succeeded:
            [first] = cluster.queue("slow")
            seen.wait(lambda: first in seen.starts)
            cluster.proxy.add(Fault(hold, method="PATCH", path="/slow-", times=None))
        cluster.queue("slow", count=8)
        hold.wait_held()
        [quick] = cluster.queue("quick")
        cluster.proxy.wait_for(lambda one: is_admission(one) and quick in one.path)
        patches = [one.path for one in cluster.proxy.requests if is_admission(one)]
        hold.release()
    place = next(index for index, path in enumerate(patches) if quick in path)
    assert place <= (PROMPT_WRITERS if has_succeeded else 1)


@pytest.mark.usefixtures("nothing_is_slow")
def test_dispatcher__busy_definition__does_not_starve_another(cluster: ClusterFixture, seen: Observer) -> None:
    """One with many slots and a long queue delays the only run of another one by two writes at most.

    Its writes in flight do not end.
    """
    hold = Hold()
    cluster.queue("busy", count=60)
    with cluster.dispatching({"busy": 60, "quiet": 1}):
        cluster.proxy.wait_for(is_admission, count=5)
        cluster.proxy.add(Fault(hold, method="PATCH", path="/busy-", times=None))
        hold.wait_held()
        before = sum(map(is_admission, cluster.proxy.requests))
        [quiet] = cluster.queue("quiet")
        cluster.proxy.wait_for(lambda one: is_admission(one) and quiet in one.path)
        patches = [one.path for one in cluster.proxy.requests if is_admission(one)]
        hold.release()
    place = next(index for index, path in enumerate(patches) if quiet in path)
    assert place - before <= PROMPT_WRITERS - 2
