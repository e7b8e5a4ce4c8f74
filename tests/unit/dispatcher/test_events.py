"""When a run is told why it waits."""

from app.dispatcher.events import TOLD_PER_REASON, PendingReasons
from app.domain.pending_reason import PendingReason
from app.domain.run import Phase
from tests.unit.dispatcher.runs import make_run, store_of, unready_from


def reasons_of(found: tuple[list[tuple[object, PendingReason, str]], bool]) -> list[PendingReason]:
    return [reason for _, reason, _ in found[0]]


def test_find_events__tells_a_reason_that_has_stayed_and_tells_it_once() -> None:
    """A reason that is gone at the next look is none."""
    reasons, store = PendingReasons(), store_of([make_run(1, depends_on=("db",))])
    unready, slots = unready_from(()), {"a": 1}
    assert reasons.find_events(store, slots, unready) == ([], True)
    assert reasons_of(reasons.find_events(store, slots, unready)) == [PendingReason.DEPENDENCIES_NOT_READY]
    assert reasons.find_events(store, slots, unready) == ([], False)


def test_find_events__takes_a_wait_for_a_slot_after_dependencies_for_progress() -> None:
    """It is worth no second Event; a definition that is gone is."""
    run = make_run(1, depends_on=("db",))
    reasons, store = PendingReasons(), store_of([run, make_run(2, phase=Phase.ADMITTED)])
    for _ in range(2):
        reasons.find_events(store, {"a": 1}, unready_from(()))
    store.set_ready("db", ready=True)
    assert reasons.find_events(store, {"a": 1}, unready_from({"db"})) == ([], False)
    reasons.find_events(store, {}, unready_from({"db"}))
    assert reasons_of(reasons.find_events(store, {}, unready_from({"db"}))) == [PendingReason.DEFINITION_MISSING]


def test_find_events__tells_the_first_runs_of_each_reason() -> None:
    """However many wait, and whatever each of them depends on."""
    blocked = [make_run(number, depends_on=(f"db-{number}",)) for number in range(500)]
    waiting = [make_run(1000 + number) for number in range(500)]
    store = store_of([*blocked, *waiting, make_run(5000, phase=Phase.ADMITTED)])
    reasons = PendingReasons()
    reasons.find_events(store, {"a": 1}, unready_from(()))
    events, _ = reasons.find_events(store, {"a": 1}, unready_from(()))
    assert {run.name for run, _, _ in events} == {
        run.name for run in (*blocked[:TOLD_PER_REASON], *waiting[:TOLD_PER_REASON])
    }
