"""Which runs are admitted: for any queues, slots and readiness."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.dispatcher.plan import plan, suspects
from app.domain.pending_reason import PendingReason, find_pending_reason
from app.domain.run import DependsOn, Phase, Run, queue_key
from tests.unit.dispatcher.runs import (
    DEFINITIONS,
    DEPENDENCIES,
    WORKLOADS,
    lines_of,
    make_run,
    populations,
    unready_from,
)

NOW = 1_000_000
"""Later than all runs are stored that don't say otherwise."""

slots_of = st.dictionaries(st.sampled_from(DEFINITIONS), st.integers(0, 4))
ready_sets = st.sets(st.sampled_from(WORKLOADS))


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Run], dict[str, int], set[str], dict[str, str], set[str]]:
    """Runs, slots, ready workloads, runs in doubt and runs to be passed over."""
    runs = draw(populations())
    queued = [run for run in runs if run.phase is Phase.QUEUED]
    doubtful = draw(st.lists(st.sampled_from(queued), max_size=4)) if queued else []
    postponed = draw(st.sets(st.sampled_from([run.uid for run in queued]), max_size=4)) if queued else set()
    return runs, draw(slots_of), draw(ready_sets), {run.uid: run.definition for run in doubtful}, postponed


def naive_plan(
    runs: list[Run], slots: dict[str, int], ready: set[str], in_doubt: dict[str, str], postponed: set[str]
) -> list[Run]:
    """The rules of the design, word by word, one run after the other."""
    unready = unready_from(ready)
    free = {
        definition: limit
        - sum(run.definition == definition and run.phase is Phase.ADMITTED for run in runs)
        - sum(doubted == definition for doubted in in_doubt.values())
        for definition, limit in slots.items()
    }
    chosen = []
    for run in sorted((run for run in runs if run.phase is Phase.QUEUED), key=queue_key):
        if free.get(run.definition, 0) <= 0 or run.uid in in_doubt or run.uid in postponed or unready(run.depends_on):
            continue
        free[run.definition] -= 1
        chosen.append(run)
    return chosen


@given(situations())
def test_it_chooses_what_the_rules_say(
    situation: tuple[list[Run], dict[str, int], set[str], dict[str, str], set[str]],
) -> None:
    """Never more than free slots, nothing unready, in doubt or postponed, in order, and nobody blocks those behind."""
    runs, slots, ready, in_doubt, postponed = situation
    chosen = plan(lines_of(runs), slots, unready_from(ready), in_doubt=in_doubt, refused=postponed)
    expected = naive_plan(runs, slots, ready, in_doubt, postponed)
    for definition in DEFINITIONS:
        assert [run for run in chosen if run.definition == definition] == [
            run for run in expected if run.definition == definition
        ]
    assert len(chosen) == len(expected)


@given(situations())
def test_active_runs_never_exceed_the_slots(
    situation: tuple[list[Run], dict[str, int], set[str], dict[str, str], set[str]],
) -> None:
    """What runs already, what may be running and what is chosen fit into the slots, unless they didn't before."""
    runs, slots, ready, in_doubt, postponed = situation
    chosen = plan(lines_of(runs), slots, unready_from(ready), in_doubt=in_doubt, refused=postponed)
    for definition in DEFINITIONS:
        held = sum(run.definition == definition and run.phase is Phase.ADMITTED for run in runs)
        held += sum(doubted == definition for doubted in in_doubt.values())
        new = sum(run.definition == definition for run in chosen)
        assert new == 0 or held + new <= slots[definition]


def test_a_definition_without_slots_in_the_configuration_has_none() -> None:
    """Its runs wait; nobody else is affected."""
    lines = lines_of([make_run(1, definition="gone"), make_run(2, definition="a")])
    assert [run.name for run in plan(lines, {"a": 1}, unready_from(()), in_doubt={})] == ["run-0002"]


def test_runs_that_came_at_the_same_time_go_by_their_names() -> None:
    """So that two dispatchers that see the same queue choose the same run."""
    lines = lines_of([make_run(number, queued_at=7) for number in (3, 1, 2)])
    assert [run.name for run in plan(lines, {"a": 2}, unready_from(()), in_doubt={})] == ["run-0001", "run-0002"]


def test_groups_that_wait_for_different_things_share_one_order() -> None:
    """Who waits for what plays no part once it is ready."""
    runs = [make_run(number, depends_on=("db",) if number % 2 else ()) for number in range(6)]
    chosen = plan(lines_of(runs), {"a": 4}, unready_from({"db"}), in_doubt={})
    assert [run.name for run in chosen] == ["run-0000", "run-0001", "run-0002", "run-0003"]


def test_a_run_that_was_refused_queues_up_again() -> None:
    """Behind all that were there when its pause was over, before all that came later."""
    refused, before, after = make_run(1, queued_at=10), make_run(2, queued_at=20), make_run(3, queued_at=40)
    lines, uids = lines_of([refused, before, after]), [refused.uid]
    again = [(30, refused)]
    chosen = plan(lines, {"a": 3}, unready_from(()), in_doubt={}, refused=uids, again=again)
    assert chosen == [before, refused, after]
    assert plan(lines, {"a": 3}, unready_from(()), in_doubt={}, refused=uids) == [before, after]


def test_those_that_were_not_refused_may_go_first() -> None:
    """Whenever they came."""
    refused, later = make_run(1, queued_at=10), make_run(2, queued_at=40)
    lines, again = lines_of([refused, later]), [(30, refused)]
    for first in (True, False):
        chosen = plan(
            lines,
            {"a": 1},
            unready_from(()),
            in_doubt={},
            refused=[refused.uid],
            again=again,
            untried_first=lambda _definition, first=first: first,
        )
        assert chosen == [later if first else refused]


def test_a_refused_run_is_chosen_no_sooner_than_it_could_start() -> None:
    """What it waits for may have gone meanwhile; and while its admission is in doubt it is not admitted anew."""
    run = make_run(1, depends_on=("db",))
    lines, again = lines_of([run]), [(30, run)]
    assert plan(lines, {"a": 2}, unready_from(()), in_doubt={}, refused=[run.uid], again=again) == []
    doubts = {run.uid: "a"}
    assert plan(lines, {"a": 2}, unready_from(["db"]), in_doubt=doubts, refused=[run.uid], again=again) == []
    assert plan(lines, {"a": 2}, unready_from(["db"]), in_doubt={}, refused=[run.uid], again=again) == [run]


@given(populations(), slots_of, ready_sets)
def test_whatever_another_dispatcher_chose_from_the_same_queue_is_suspected(
    runs: list[Run], slots: dict[str, int], ready: set[str]
) -> None:
    """Whichever dependencies it took for ready."""
    lines = lines_of(runs)
    assert set(plan(lines, slots, unready_from(ready), in_doubt={})) <= set(suspects(lines, slots, NOW))


def test_suspects_are_none_where_no_slot_is_free() -> None:
    """Nobody can have been about to take one."""
    runs = [make_run(1, phase=Phase.ADMITTED), make_run(2)]
    assert suspects(lines_of(runs), {"a": 1}, NOW) == []


def test_suspects_are_bounded() -> None:
    """Where each of a thousand runs waits for something else, a new leader doesn't write a thousand times."""
    runs = [make_run(number, depends_on=(f"db-{number}",)) for number in range(1000)]
    found = suspects(lines_of(runs), {"a": 2}, NOW)
    assert len(found) < 100
    assert found == runs[: len(found)]


@given(populations(), slots_of, ready_sets, st.data())
def test_what_another_dispatcher_chose_is_suspected_also_before_others_came(
    runs: list[Run], slots: dict[str, int], ready: set[str], data: st.DataObject
) -> None:
    """Whatever was stored after what it knew, with whichever places."""
    ages = data.draw(st.lists(st.integers(0, 100), min_size=len(runs), max_size=len(runs)))
    aged = [replace(run, created_at=age) for run, age in zip(runs, ages, strict=True)]
    known_until = 50
    looked_at = data.draw(st.integers(known_until, 101))
    known = [run for run in aged if run.created_at < looked_at or run.phase is not Phase.QUEUED]
    chosen = plan(lines_of(known), slots, unready_from(ready), in_doubt={})
    assert set(chosen) <= set(suspects(lines_of(aged), slots, known_until))


def test_a_queue_in_order_has_few_suspects() -> None:
    """A new leader writes no more than it has to, also after a burst."""
    burst = [make_run(number, created_at=number // 30) for number in range(100)]
    for known_until in (0, 1000):
        assert suspects(lines_of(burst), {"a": 2}, known_until) == burst[:2]


def test_the_first_of_every_group_are_suspects_before_any_that_were_first_once() -> None:
    """However many of those there are."""
    late = [make_run(number, created_at=200 + 10 * number, depends_on=("db",)) for number in range(100)]
    once = [make_run(number, created_at=100, depends_on=("db",)) for number in range(100, 200)]
    other = make_run(300, created_at=100)
    found = suspects(lines_of([*late, *once, other]), {"a": 1}, known_until=50)
    assert found[:3] == [late[0], other, once[0]]
    assert len(found) == 3


@given(st.sampled_from(DEPENDENCIES), st.integers(0, 4), st.integers(0, 4), ready_sets)
def test_plan__admits_exactly_the_runs_that_have_no_pending_reason(
    depends_on: DependsOn, admitted: int, limit: int, ready: set[str]
) -> None:
    run, unready = make_run(1, depends_on=depends_on), unready_from(ready)
    reason = find_pending_reason("a", admitted, {"a": limit}, unready(depends_on))
    chosen = plan(lines_of([run]), {"a": limit - admitted}, unready, in_doubt={})
    assert (reason is PendingReason.NOTHING) == (chosen == [run])
