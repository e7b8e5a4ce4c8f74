"""What a leader does next, and what comes of each answer: the decisions together with their pauses."""

from dataclasses import replace

import pytest

from app.dispatcher.write import Purpose, Write
from app.domain.pending_reason import PendingReason
from app.domain.run import KueueFacts, Phase, Run
from app.kube.errors import ClusterError, ConflictError, DeniedError, UnavailableError
from tests.unit.dispatcher.leaders import Leader
from tests.unit.dispatcher.runs import make_run


def test_admissions__send_nothing_after_a_broken_watch_until_the_lease_is_written_again() -> None:
    """Etcd may have been restored while the watch was broken, and a watch does not show that.

    An API server lets a watch go on from a version that it has not reached yet, and sends nothing
    (https://github.com/kubernetes/kubernetes/issues/107457). A write of the Lease conflicts where another leader is in
    the restored one.
    """
    leader = Leader({"a": 1}, [make_run(1)])
    leader.write_intent()
    leader.admissions.lose_view()
    leader.admissions.set_current(True)
    assert leader.admissions.take_write(leader.slots) is None
    leader.write_intent()
    assert leader.admissions.take_write(leader.slots) is not None


@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_admissions__let_a_new_run_wait_for_the_first_write_of_the_job_controller(is_acknowledged: bool) -> None:
    """Otherwise that write makes the admission conflict. The wait ends with it, or by itself."""
    leader = Leader({"a": 1}, [])
    leader.admissions.runs.put(replace(make_run(1, version=2), acknowledged=False))
    leader.now_seconds += 0.4
    leader.write_intent()
    assert leader.admissions.take_write(leader.slots) is None
    if is_acknowledged:
        leader.admissions.runs.put(make_run(1, version=3))
    else:
        leader.now_seconds += 0.2
    leader.write_intent()
    write = leader.admissions.take_write(leader.slots)
    assert write is not None
    assert write.pin.version == (3 if is_acknowledged else 2)


@pytest.mark.parametrize("breaks_first", [True, False])
def test_admissions__do_not_take_a_renewal_without_a_current_view_as_a_confirmation(breaks_first: bool) -> None:
    """The watch breaks before or during the renewal, which may be stored just before etcd is restored."""
    leader = Leader({"a": 1}, [make_run(1)])
    leader.write_intent()
    if breaks_first:
        leader.admissions.lose_view()
    intent = leader.admissions.prepare_renewal(leader.slots)
    if not breaks_first:
        leader.admissions.lose_view()
    leader.admissions.set_current(True)
    leader.store_lease(intent)
    assert leader.admissions.take_write(leader.slots) is None
    leader.write_intent()
    assert leader.admissions.take_write(leader.slots) is not None


def test_admissions__write_no_lease_while_the_view_stays_current() -> None:
    """A watch that ends by itself and is opened again costs no write."""
    leader = Leader({"a": 1}, [])
    leader.write_intent()
    for _ in range(10):
        leader.admissions.set_current(True)
        leader.admissions.refresh_term()
        assert not leader.admissions.wants_intent(leader.slots)


def test_admissions__tell_of_no_refusal_where_a_fence_settles_an_earlier_write() -> None:
    """The refusal of the second admission says nothing about the first one; the fence then succeeds."""
    leader = Leader({"a": 1}, [make_run(1)])
    answers: dict[Purpose, list[ClusterError]] = {Purpose.ADMIT: [DeniedError("denied"), UnavailableError("lost")]}

    def answer(write: Write) -> Run | ClusterError:
        if errors := answers.get(write.purpose):
            return errors.pop()
        phase = Phase.ADMITTED if write.purpose is Purpose.ADMIT else Phase.QUEUED
        return make_run(1, version=write.pin.version + 1, phase=phase)

    leader.run_for(60, answer)
    assert leader.told == []
    assert leader.admissions.runs.active("a") == 1


def test_admissions__remember_no_pauses_of_runs_that_are_over() -> None:
    leader = Leader({"a": 50}, [])
    for number in range(300):
        queued = make_run(number, version=1000 + 2 * number)
        leader.admissions.runs.put(queued)
        leader.write_intent()
        write = leader.admissions.take_write(leader.slots)
        assert write is not None
        leader.admissions.ended(write, ConflictError("changed"))
        finished = replace(queued, resource_version=queued.resource_version + 1, phase=Phase.FINISHED)
        leader.admissions.runs.put(finished)
        leader.now_seconds += 60
    assert len(leader.admissions._settling._backoffs) < 50


def test_admissions__pause_longer_while_every_patch_of_unchanged_runs_conflicts() -> None:
    leader = Leader({"a": 20}, [make_run(number) for number in range(20)])

    def answer(write: Write) -> Run | ClusterError:
        run = leader.admissions.runs.get(write.pin.uid)
        assert run is not None
        return run if write.purpose is Purpose.READ else ConflictError("a quota has changed")

    taken_at = leader.run_for(120, answer)
    assert sum(at >= 110 for at in taken_at) < sum(at < 10 for at in taken_at) / 2


def test_admissions__pause_longer_and_tell_while_every_settling_write_is_refused() -> None:
    """One write has no answer; then a policy refuses every write of that run."""
    leader = Leader({"a": 1}, [make_run(0), make_run(1)])
    answers: list[ClusterError] = [UnavailableError("no answer in time")]
    taken_at = leader.run_for(600, lambda _write: answers.pop() if answers else DeniedError("denied the request"))
    assert sum(at > 540 for at in taken_at) < 10
    assert {reason for _, reason, _ in leader.told} == {PendingReason.REFUSED}


def test_admissions__ignore_a_view_of_an_earlier_term() -> None:
    """A list that began in an earlier term may end late, and look like an etcd restore."""
    leader = Leader({"a": 1}, [])
    earlier = leader.admissions.runs
    earlier.replace([make_run(1, version=50)], 50)
    leader.admissions.end_term()
    leader.admissions.leadership, intent = leader.admissions.leadership.prepare_take()
    leader.store_lease(intent)
    earlier.replace([make_run(1, version=40)], 40)
    assert leader.admissions.term is not None


def test_admissions__kueue_that_stops_every_run__is_not_given_the_whole_queue() -> None:
    """`manageJobsWithoutQueueName`: each stopped run frees its slot, so the next one would be started and stopped."""
    leader = Leader({"a": 2}, [make_run(number) for number in range(500)])

    def answer(write: Write) -> Run:
        run = leader.admissions.runs.get(write.pin.uid)
        assert run is not None
        started = replace(run, phase=Phase.ADMITTED, resource_version=run.resource_version + 1)
        leader.admissions.runs.put(started)
        stopped = replace(run, kueue=KueueFacts(undone="start"), resource_version=run.resource_version + 2)
        leader.admissions.runs.put(stopped)
        return started

    starts = leader.run_for(50.0, answer)
    assert len(starts) <= 10


@pytest.mark.parametrize("was_started", [True, False])
def test_admissions__rest_after_a_stop_by_kueue__ends_with_a_new_start_alone(was_started: bool) -> None:
    """A later change of a run that has started long ago says nothing about Kueue."""
    older = replace(make_run(1, phase=Phase.ADMITTED), started=was_started)
    stopped = replace(make_run(2, version=5), kueue=KueueFacts(undone="start"))
    leader = Leader({"a": 2}, [older, stopped])
    leader.admissions.runs.put(replace(older, started=True, resource_version=7))
    leader.write_intent()
    assert (leader.admissions.take_write(leader.slots) is None) is was_started
