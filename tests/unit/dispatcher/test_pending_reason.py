"""What is said of a queued run, and what is done with it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.dispatcher.next_admission import choose_batch
from app.dispatcher.term import Term
from app.domain.pending_reason import PendingReason, explain, find_pending_reason
from app.domain.run import DependsOn, KueueFacts, Phase
from tests.unit.dispatcher.runs import DEPENDENCIES, WORKLOADS, make_run, store_of, unready_from


@given(st.sampled_from(DEPENDENCIES), st.integers(0, 4), st.integers(0, 4), st.sets(st.sampled_from(WORKLOADS)))
def test_pending_reason__is_none_exactly_if_the_run_would_be_chosen(
    depends_on: DependsOn, admitted: int, limit: int, ready: set[str]
) -> None:
    """What is said and what is done come from the same rules."""
    run = make_run(1, depends_on=depends_on)
    reason = find_pending_reason(run, admitted, {"a": limit}, unready_from(ready)(depends_on))
    others = [make_run(number, phase=Phase.ADMITTED) for number in range(10, 10 + admitted)]
    term = Term(is_listed=True)
    chosen = choose_batch(term, store_of([run, *others], ready), {"a": limit}, lambda _definition: False)
    assert (reason is PendingReason.NOTHING) == (chosen == [run])


def test_pending_reason__held_or_managed_elsewhere__says_so() -> None:
    """Before anything that may change by itself."""
    held = replace(make_run(1, depends_on=("db",)), held=True, managed_elsewhere=True)
    elsewhere = replace(held, held=False)
    assert explain(held, 0, {"a": 1}, [])[0] is PendingReason.HELD
    assert explain(elsewhere, 0, {"a": 1}, [])[0] is PendingReason.MANAGED_ELSEWHERE
    assert explain(held, 0, {}, [])[0] is PendingReason.DEFINITION_MISSING


def test_pending_reason__stopped_by_kueue__says_so_before_the_slots() -> None:
    stopped = replace(make_run(1, depends_on=("db",)), kueue=KueueFacts(undone="start"))
    assert explain(stopped, 1, {"a": 1}, [])[0] is PendingReason.SUSPENDED_AGAIN
    assert "manageJobsWithoutQueueName" in explain(stopped, 0, {"a": 1}, [])[1]
    undone = replace(stopped, kueue=KueueFacts(undone="end"))
    assert explain(undone, 0, {"a": 1}, [])[0] is PendingReason.QUEUE_TIMEOUT
    waits = unready_from(set())(("db",))
    assert explain(stopped, 0, {"a": 1}, waits)[0] is PendingReason.DEPENDENCIES_NOT_READY
