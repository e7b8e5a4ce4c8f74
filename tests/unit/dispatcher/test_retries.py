"""Runs that are tried again later."""

from app.dispatcher.retries import Retries
from app.dispatcher.tables import Changes, RunTable
from app.domain.run import Phase
from tests.support.clock import Clock
from tests.unit.dispatcher.runs import make_run


def test_pauses_double_up_to_their_longest_and_begin_anew_for_a_new_version() -> None:
    """A run that has changed isn't held back for what its earlier version met."""
    clock = Clock()
    retries = Retries(clock, last_backoff_seconds=2.0)
    pauses = []
    for _ in range(5):
        retries.add(make_run(1))
        pauses.append(retries.seconds_left())
        clock.now += pauses[-1]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 2.0]
    retries.add(make_run(1, version=2))
    assert retries.seconds_left() == 0.25


def test_a_pause_is_bounded_by_what_the_run_was_last_held_back_for() -> None:
    """A conflict that nobody can explain may be over at any moment, however long a refusal held the run back before."""
    clock = Clock()
    retries = Retries(clock, last_backoff_seconds=300.0)
    for _ in range(8):
        retries.add(make_run(1))
    assert retries.seconds_left() == 32.0
    retries.add(make_run(1), at_most_seconds=2.0)
    assert retries.seconds_left() == 2.0


def test_one_added_as_due_is_due_at_once_and_held_back_after_its_first_try() -> None:
    """What a silent dispatcher may have left is settled without delay, and no more often than anything else."""
    clock = Clock()
    retries = Retries(clock, last_backoff_seconds=2.0)
    retries.add_due(make_run(1))
    assert set(retries.due()) == {"uid-1"}
    assert not retries.was_tried("uid-1")
    retries.add(make_run(1))
    assert retries.due() == {}
    assert retries.was_tried("uid-1")
    assert retries.seconds_left() == 0.25


def test_it_tells_when_a_run_was_tried_and_for_how_long_it_has_been_due() -> None:
    """From which its next pause, and its new place, follow."""
    clock = Clock()
    retries = Retries(clock, last_backoff_seconds=2.0)
    assert retries.tried_at("uid-1") == float("inf")
    retries.add(make_run(1))
    clock.now += 1.25
    assert retries.tried_at("uid-1") == clock.now - 1.25
    assert retries.due() == {"uid-1": 1.0}
    retries.forget(make_run(1))
    assert not retries


def test_a_run_is_due_when_its_pause_is_over() -> None:
    """Not a moment before, and it stays due until it is tried."""
    clock = Clock()
    retries = Retries(clock, last_backoff_seconds=2.0)
    assert retries.seconds_left() == float("inf")
    retries.add(make_run(1))
    clock.now += 0.2
    assert retries.due() == {}
    clock.now += 0.1
    assert set(retries.due()) == {"uid-1"}
    assert retries.seconds_left() == float("inf")


def test_what_has_changed_is_forgotten() -> None:
    """Gone, no longer queued, or in another version: the question that was open is answered."""
    table = RunTable(Changes())
    retries = Retries(Clock(), last_backoff_seconds=2.0)
    same, changed, admitted, gone = (make_run(number) for number in range(4))
    for run in (same, changed, admitted, gone):
        retries.add(run)
    table.replace([same, make_run(1, version=2), make_run(2, version=2, phase=Phase.ADMITTED)])
    retries.forget_changed(table)
    assert retries.uids() == {"uid-0"}
    assert "uid-0" in retries
    table.replace([])
    retries.forget_changed(table)
    assert not retries
