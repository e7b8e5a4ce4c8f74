"""What a leader chooses and sends: for any queues, slots and readiness. The order of steps is for tests/model."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatcher.fence import FENCED_AT_ONCE, SUSPECTED_PER_GROUP
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.next_admission import (
    BATCH,
    MOST_NAMED,
    REFILL,
    choose_batch,
    choose_write,
    give_up_slow_writes,
    is_urgent,
)
from app.dispatcher.run_store import RunStore
from app.dispatcher.term import Term
from app.dispatcher.write import PROMPT_WRITERS, SLOW_WRITERS, Purpose, Write
from app.domain.run import Phase, Run, queue_key
from tests.unit.dispatcher.runs import DEFINITIONS, WORKLOADS, make_run, populations, store_of

slots_of = st.dictionaries(st.sampled_from(DEFINITIONS), st.integers(0, 4))
ready_sets = st.sets(st.sampled_from(WORKLOADS))
LISTED = Term(is_listed=True, is_confirmed=True)


def never(_definition: str) -> bool:
    return False


def always(_pin: Pin) -> bool:
    return True


def pin_of(run: Run) -> Pin:
    return Pin(run.uid, run.resource_version)


def renew(term: Term, store: RunStore, slots: dict[str, int]) -> Term:
    """Store an intent with the next batch."""
    batch = choose_batch(term, store, slots, never)
    return term.keep_unsent(batch).intend(batch)


def added(term: Term, store: RunStore, slots: dict[str, int]) -> list[Run]:
    """The runs that the next intent adds."""
    return [run for run in choose_batch(term, store, slots, never) if pin_of(run) not in term.unsent]


def naive_choice(runs: list[Run], slots: dict[str, int], ready: set[str], doubted: set[str]) -> list[Run]:
    """The rules of the design, word by word, one run after the other."""
    free = {
        definition: limit
        - sum(run.definition == definition and run.phase is Phase.ADMITTED for run in runs)
        - sum(run.definition == definition and run.uid in doubted for run in runs)
        for definition, limit in slots.items()
    }
    chosen = []
    for run in sorted((run for run in runs if run.phase is Phase.QUEUED), key=queue_key):
        if run.depends_on is None or not set(run.depends_on) <= ready or run.uid in doubted:
            continue
        if free.get(run.definition, 0) > 0:
            free[run.definition] -= 1
            chosen.append(run)
    return chosen


@given(populations(), slots_of, ready_sets, st.data())
def test_choose_batch__takes_what_the_rules_say(
    runs: list[Run], slots: dict[str, int], ready: set[str], data: st.DataObject
) -> None:
    """Never more than free slots, nothing unready or in doubt, in order, and nobody blocks those behind."""
    queued = [run for run in runs if run.phase is Phase.QUEUED]
    doubtful = data.draw(st.lists(st.sampled_from(queued), max_size=4)) if queued else []
    doubted = {run.uid for run in doubtful}
    term = LISTED._replace(in_doubt=frozenset(map(pin_of, doubtful)))
    chosen = choose_batch(term, store_of(runs, ready), slots, never)
    expected = naive_choice(runs, slots, ready, doubted)
    for definition in DEFINITIONS:
        mine = [run for run in chosen if run.definition == definition]
        assert mine == [run for run in expected if run.definition == definition]


def drive(
    term: Term, store: RunStore, slots: dict[str, int], answer: Callable[[Write], bool], writes: int
) -> list[str]:
    """Have so many writes made, each answered before the next one; returns the definitions that were served."""
    served = []
    for _ in range(writes):
        term = renew(term, store, slots)
        write = choose_write(term, store, slots, never, always)
        if write is None:
            break
        term = term.hand_over(write)
        served.append(write.definition)
        if answer(write):
            run = store.get(write.pin.uid)
            assert run is not None
            store.remove(run)
            term = term.succeeded(write)
    return served


def test_choose_write__serves_a_newcomer_after_at_most_two_writes() -> None:
    """However long the queue of a busy definition is, and however many slots it has."""
    busy = [make_run(number, definition="a") for number in range(150)]
    store, slots = store_of(busy), {"a": 30, "b": 1}
    term = LISTED
    for _ in range(5):
        term = renew(term, store, slots)
        write = choose_write(term, store, slots, never, always)
        assert write is not None
        term = term.hand_over(write)
        run = store.get(write.pin.uid)
        assert run is not None
        store.remove(run)
        term = term.succeeded(write)
    store.put(make_run(900, definition="b"))
    assert "b" in drive(term, store, slots, lambda _write: True, 2)


def test_choose_batch__names_the_first_of_each_before_the_second_of_any() -> None:
    """A batch is too small for the busy definition alone, and holds one run of each all the same."""
    runs = [make_run(number, definition="a") for number in range(2 * BATCH)]
    runs += [make_run(1000 + number, definition=f"d{number}") for number in range(5)]
    slots = {"a": 2 * BATCH} | {f"d{number}": 1 for number in range(5)}
    chosen = choose_batch(LISTED._replace(healthy=frozenset(slots)), store_of(runs), slots, never)
    assert len(chosen) == BATCH
    assert {run.definition for run in chosen[:6]} == set(slots)


def test_choose_batch__has_room_for_others_when_slots_are_taken_away() -> None:
    """The runs of the first definition stand in the Lease, fill the batch, and have no slot any more."""
    store = store_of([*(make_run(number) for number in range(2 * BATCH)), make_run(1000, definition="b")])
    term = LISTED._replace(healthy=frozenset("ab"))
    term = renew(term, store, {"a": BATCH}).prune(store)
    assert len(term.unsent) == BATCH
    assert [run.definition for run in choose_batch(term, store, {"a": 0, "b": 5}, never)] == ["b"]
    assert len(renew(term, store, {"a": 3}).unsent) == 3


@pytest.mark.parametrize("healthy", ["a", "ab"])
@pytest.mark.parametrize("in_flight", [0, PROMPT_WRITERS - 1])
def test_choose_batch__gives_the_place_of_a_busy_definition_to_the_first_run_of_another(
    healthy: str, in_flight: int
) -> None:
    """All runs in the intent are of the busy one, and its writes in flight may never end."""
    store = store_of([make_run(number) for number in range(2 * BATCH)])
    slots = {"a": 2 * BATCH, "b": 5}
    term = renew(LISTED._replace(healthy=frozenset(healthy)), store, slots)
    for _ in range(in_flight):
        write = choose_write(term, store, slots, never, always)
        assert write is not None
        term = term.hand_over(write)
    term = renew(term, store, slots)
    assert len(term.unsent) == BATCH
    assert not is_urgent(term, choose_batch(term, store, slots, never))
    for number in range(3):
        store.put(make_run(1000 + number, definition="b"))
    batch = choose_batch(term, store, slots, never)
    assert is_urgent(term, batch)
    assert [run.definition for run in batch if pin_of(run) not in term.unsent] == ["b"] * 3
    renewed = renew(term, store, slots)
    assert len(renewed.unsent) == BATCH
    assert {run.uid for run in batch[:2]} == {f"uid-{in_flight}", "uid-1000"}
    assert not is_urgent(renewed, choose_batch(renewed, store, slots, never))


@pytest.mark.parametrize("standing", ["healthy", "untried", "failing"])
def test_choose_batch__stays_the_same_while_nothing_is_sent(standing: str) -> None:
    """However many definitions want a place, the Lease is not written again and again."""
    names = [f"d{number}" for number in range(3 * BATCH)]
    store = store_of([make_run(number, definition=name) for number, name in enumerate(names * 3)])
    slots = dict.fromkeys(names, 5)
    term = LISTED if standing == "untried" else LISTED._replace(**{standing: frozenset(names)})
    term = renew(term, store, slots)
    assert added(term, store, slots) == []
    assert renew(term, store, slots) == term


def test_is_urgent__many_definitions_with_queues__waits_until_few_runs_are_left() -> None:
    """The runs of a definition that was just served are the last ones of the batch."""
    names = [f"d{number}" for number in range(40)]
    store = store_of([make_run(number, definition=name) for number, name in enumerate(names * 5)])
    slots = dict.fromkeys(names, 5)
    term = renew(LISTED._replace(healthy=frozenset(names)), store, slots)
    sent = 0
    while not is_urgent(term, choose_batch(term, store, slots, never)):
        write = choose_write(term, store, slots, never, always)
        assert write is not None
        run = store.get(write.pin.uid)
        assert run is not None
        store.remove(run)
        term = term.hand_over(write).succeeded(write)
        sent += 1
    assert sent > BATCH - REFILL


def test_choose_batch__leaves_no_more_room_than_an_intent_has() -> None:
    """So many pins are in doubt that the intent has room for two more."""
    store, slots = store_of([make_run(number) for number in range(5)]), {"a": 5, "b": 5}
    doubtful = frozenset(Pin(f"uid-x{number}", 1) for number in range(MOST_NAMED - 2))
    term = renew(LISTED, store, slots)
    assert len(term.unsent) == 5
    store.put(make_run(1000, definition="b"))
    term = renew(term._replace(in_doubt=doubtful), store, slots)
    assert {pin.uid for pin in term.unsent} == {"uid-0", "uid-1000"}
    assert choose_batch(term._replace(in_doubt=doubtful | {Pin("y", 1), Pin("z", 1)}), store, slots, never) == []


def test_choose_write__leaves_a_writer_to_the_others() -> None:
    """One definition alone takes all writers but one."""
    store, slots = store_of([make_run(number) for number in range(10)]), {"a": 10, "b": 1}
    term = LISTED._replace(healthy=frozenset({"a"}))
    term = renew(term, store, slots)
    taken = 0
    while (write := choose_write(term, store, slots, never, always)) is not None:
        term = term.hand_over(write)
        taken += 1
    assert taken == PROMPT_WRITERS - 1
    store.put(make_run(99, definition="b"))
    term = renew(term, store, slots)
    write = choose_write(term, store, slots, never, always)
    assert write is not None
    assert write.definition == "b"


def test_choose_write__leaves_the_writers_to_those_that_are_well() -> None:
    """Any number of definitions hang: a healthy one has a writer at once."""
    names = [f"bad{number}" for number in range(2 * SLOW_WRITERS)]
    runs = [make_run(number, definition=name) for number, name in enumerate(names)]
    slots = dict.fromkeys([*names, "well"], 5)
    store = store_of(runs)
    term = LISTED._replace(failing=frozenset(names))
    term = renew(term, store, slots)
    while (write := choose_write(term, store, slots, never, always)) is not None:
        term = term.hand_over(write)
    assert len(term.in_flight) == SLOW_WRITERS
    store.put(make_run(99, definition="well"))
    term = renew(term, store, slots)
    write = choose_write(term, store, slots, never, always)
    assert write is not None
    assert write.definition == "well"


def test_choose_batch__gives_failing_definitions_room_of_their_own() -> None:
    """However many they are, and also those that began to fail after their runs were intended."""
    names = [f"bad{number}" for number in range(BATCH)]
    runs = [make_run(number, definition=name) for number, name in enumerate(names * 2)]
    slots = dict.fromkeys([*names, "ok"], 5)
    store = store_of(runs)
    term = LISTED._replace(healthy=frozenset([*names, "ok"]))
    term = renew(term, store, slots)
    assert len(term.unsent) == BATCH
    store.put(make_run(900, definition="ok"))
    assert added(term, store, slots) == []
    term = term._replace(failing=frozenset(names))
    assert [run.definition for run in added(term, store, slots)] == ["ok"]
    term = LISTED._replace(failing=frozenset(names))
    chosen = [run.definition for run in choose_batch(term, store, slots, never)]
    assert len(chosen) == SLOW_WRITERS + 1
    assert "ok" in chosen


def test_choose_batch__leaves_half_of_the_batch_to_definitions_that_have_succeeded() -> None:
    """However many new ones there are."""
    names = [f"new{number}" for number in range(2 * BATCH)]
    store = store_of([make_run(number, definition=name) for number, name in enumerate(names)])
    slots = dict.fromkeys([*names, "ok"], 1)
    term = LISTED._replace(healthy=frozenset({"ok"}))
    term = renew(term, store, slots)
    assert len(term.unsent) == BATCH // 2
    store.put(make_run(900, definition="ok"))
    assert [run.definition for run in added(term, store, slots)] == ["ok"]


def test_choose_batch__gives_no_room_to_a_failing_definition_that_rests() -> None:
    """Another one, which could be sent, has it."""
    names = [f"bad{number}" for number in range(SLOW_WRITERS + 1)]
    store = store_of([make_run(number, definition=name) for number, name in enumerate(names)])
    slots = dict.fromkeys(names, 1)
    term = LISTED._replace(failing=frozenset(names))
    term = renew(term, store, slots)
    assert added(term, store, slots) == []
    assert [run.definition for run in choose_batch(term, store, slots, lambda name: name != names[-1])] == [names[-1]]


def test_choose_write__has_one_write_in_flight_until_the_first_success() -> None:
    """Should every write of a definition hang, it takes one writer."""
    store, slots = store_of([make_run(number) for number in range(10)]), {"a": 10}
    term = renew(LISTED, store, slots)
    first = choose_write(term, store, slots, never, always)
    assert first is not None
    term = term.hand_over(first)
    assert choose_write(term, store, slots, never, always) is None
    term = term.succeeded(first)
    for _ in range(PROMPT_WRITERS - 1):
        write = choose_write(term, store, slots, never, always)
        assert write is not None
        term = term.hand_over(write)
    assert choose_write(term, store, slots, never, always) is None


def test_choose_write__has_one_write_of_a_failing_definition_in_flight() -> None:
    """Until one succeeds."""
    store, slots = store_of([make_run(number) for number in range(5)]), {"a": 5}
    term = LISTED._replace(failing=frozenset({"a"}))
    term = renew(term, store, slots)
    write = choose_write(term, store, slots, never, always)
    assert write is not None
    flying = term.hand_over(write)
    assert added(flying, store, slots) != [], "the next one may stand in the Lease already"
    flying = renew(flying, store, slots)
    assert choose_write(flying, store, slots, never, always) is None
    again = flying.succeeded(write)
    assert again.failing == frozenset()
    assert choose_write(again, store, slots, never, always) is not None


def test_choose_write__makes_a_slow_write_hold_no_prompt_writer() -> None:
    """What takes long moves to a slow writer, so that others go on."""
    runs = [make_run(number, definition=f"d{number}") for number in range(PROMPT_WRITERS)] + [
        make_run(9, definition="d9")
    ]
    term, store, slots = _hand_over_all(runs)
    assert len(term.in_flight) == PROMPT_WRITERS - 1
    term = term.mark_slow(min(term.in_flight))
    assert choose_write(term, store, slots, never, always) is not None


def test_choose_write__keeps_a_writer_for_definitions_that_have_succeeded() -> None:
    """However many new ones hang, and no writer is given up for it."""
    runs = [make_run(number, definition=f"d{number}") for number in range(20)]
    term, store, slots = _hand_over_all(runs)
    for _ in range(3):
        for write in sorted(term.in_flight):
            term = term.mark_slow(write)
        while (new := choose_write(term, store, slots, never, always)) is not None:
            term = term.hand_over(new)
    assert len(term.in_flight) == PROMPT_WRITERS - 1 + SLOW_WRITERS
    store.put(make_run(99, definition="well"))
    term = term._replace(healthy=frozenset({"well"}))
    slots["well"] = 1
    term = renew(term, store, slots)
    chosen = choose_write(term, store, slots, never, always)
    assert chosen is not None
    assert chosen.definition == "well"


def test_give_up_slow_writes__frees_one_writer_for_each_definition_that_waits() -> None:
    """Definitions that were healthy hang with several writes each: the one with the most gives one up."""
    writes = [
        Write(Purpose.ADMIT, Pin(f"uid-{number}", 1), name, f"run-{number}", 0)
        for number, name in enumerate(["a", "b", "b", "c", "c", "c", "d", "d"])
    ]
    store, slots = store_of([]), {"well": 1}
    term = LISTED._replace(in_flight=frozenset(writes), slow=tuple(writes), healthy=frozenset("abcd"))
    assert give_up_slow_writes(term, store, slots, never, always) == term, "nobody waits"
    store.put(make_run(99, definition="well"))
    term = renew(term, store, slots)
    assert choose_write(term, store, slots, never, always) is None
    term = give_up_slow_writes(term, store, slots, never, always)
    [given_up] = term.given_up
    assert given_up.definition == "c"
    assert give_up_slow_writes(term, store, slots, never, always) == term, "one is enough"
    chosen = choose_write(term.lost_answer(given_up), store, slots, never, always)
    assert chosen is not None
    assert chosen.definition == "well"


def test_choose_write__keeps_as_many_writers_busy_where_every_write_is_slow() -> None:
    """An API server that is slow for everybody has as many writes at the same time as a prompt one."""
    runs = [make_run(number, definition="ab"[number % 2]) for number in range(20)]
    term, store, _ = _hand_over_all(runs, healthy="ab")
    slots = {"a": 20, "b": 20}
    for write in sorted(term.in_flight) * 2:
        term = term.mark_slow(write).succeeded(write)
        while (new := choose_write(term, store, slots, never, always)) is not None:
            term = term.hand_over(new).mark_slow(new)
        assert len(term.in_flight) >= PROMPT_WRITERS


def test_choose_write__gives_slow_definitions_no_prompt_writer_for_further_writes() -> None:
    """However long their queues are: each has one write, and together they have the slow writers."""
    runs = [make_run(number, definition=f"d{number % 6}") for number in range(60)]
    term, store, _ = _hand_over_all(runs, healthy=frozenset(f"d{number}" for number in range(6)))
    slots = {f"d{number}": 20 for number in range(6)}
    for write in sorted(term.in_flight):
        term = term.mark_slow(write)
    while (new := choose_write(term, store, slots, never, always)) is not None:
        term = term.hand_over(new).mark_slow(new)
    assert sorted(write.definition for write in term.in_flight) == sorted(slots)
    assert len(term.in_prompt_writers()) == 6 - SLOW_WRITERS


def test_choose_write__sends_no_other_write_of_a_definition_after_one_failed() -> None:
    """It was healthy and has three in flight; the next one is sent when all of them have ended, and then one only."""
    runs = [make_run(number) for number in range(20)]
    term, store, slots = _hand_over_all(runs, healthy="a")
    slots["a"] = 20
    first, second, third = sorted(term.in_flight)
    failed = term.lost_answer(first).succeeded(second).lost_answer(first)
    assert choose_write(failed.lost_answer(third), store, slots, never, always) is not None


def _hand_over_all(runs: list[Run], *, healthy: Iterable[str] = ()) -> tuple[Term, RunStore, dict[str, int]]:
    """Hand every write over that may be made of these runs; each definition has five slots."""
    slots = {run.definition: 5 for run in runs}
    store = store_of(runs)
    term = LISTED._replace(healthy=frozenset(healthy))
    term = renew(term, store, slots)
    while (write := choose_write(term, store, slots, never, always)) is not None:
        term = term.hand_over(write)
    return term, store, slots


def test_next_write__run_of_the_predecessor__is_admitted_by_the_same_patch_or_fenced() -> None:
    """It may start now: only one admission of one version can land. It may not: a fence settles it."""
    run = make_run(1, depends_on=("db",), version=7)
    intent = Intent("other", 1, 1, frozenset({pin_of(run)}), complete=True)
    for ready, purpose in ((["db"], Purpose.ADMIT), ([], Purpose.FENCE)):
        store = store_of([run], ready)
        term = Term.begin(intent).listed(store)._replace(is_confirmed=True)
        assert choose_batch(term, store, {"a": 5}, never) == []
        write = choose_write(term, store, {"a": 1}, never, always)
        assert write is not None
        assert (write.purpose, write.pin) == (purpose, pin_of(run))


def test_listed__changed_run_of_the_predecessor__is_settled() -> None:
    """Its admission carries a version that the run has no more."""
    intent = Intent("other", 1, 1, frozenset({Pin("uid-1", 6)}), complete=True)
    term = Term.begin(intent).listed(store_of([make_run(1, version=7)]))
    assert term.in_doubt == frozenset()


UNKNOWN = Intent("me", 0, 1, frozenset(), complete=False)


def test_listed__unknown_predecessor__fences_the_first_runs_of_each_group() -> None:
    """Whatever they wait for; the intent says that it is not complete until that is done."""
    runs = [make_run(number, depends_on=("db",) if number % 2 else ()) for number in range(200)]
    store = store_of(runs)
    term = Term.begin(UNKNOWN).listed(store)._replace(is_confirmed=True)
    fenced: set[str] = set()
    while not term.complete:
        if term.to_suspect:
            assert choose_batch(term, store, {"a": 1000}, never) == []
        assert 0 < len(term.suspected) <= FENCED_AT_ONCE
        write = choose_write(term, store, {"a": 200}, never, always)
        assert write is not None
        assert write.purpose is Purpose.FENCE
        term = term.hand_over(write)
        run = store.get(write.pin.uid)
        assert run is not None
        store.update(replace(run, resource_version=2))
        fenced.add(run.uid)
        term = term.succeeded(write).prune(store)
    assert fenced == {run.uid for run in runs[: 2 * SUSPECTED_PER_GROUP]}
    assert choose_batch(term, store, {"a": 10}, never) != []


def test_listed__suspects_a_run_behind_many_blocked_ones() -> None:
    """The predecessor was admitting the first run that could start, and has left no intent."""
    blocked = [make_run(number, depends_on=("db",)) for number in range(SUSPECTED_PER_GROUP)]
    store = store_of([*blocked, make_run(100, version=7)])
    store.set_ready("db", ready=True)
    term, slots, version = Term.begin(UNKNOWN).listed(store)._replace(is_confirmed=True), {"a": 1}, 1000
    while True:
        term = renew(term, store, slots)
        write = choose_write(term, store, slots, never, always)
        if write is None:
            break
        run = store.get(write.pin.uid)
        assert run is not None
        phase, version = Phase.ADMITTED if write.purpose is Purpose.ADMIT else run.phase, version + 1
        term = term.hand_over(write)
        store.update(replace(run, resource_version=version, phase=phase))
        term = term.succeeded(write).prune(store)
    assert store.active("a") == 1
    late = store.get("uid-100")
    assert late is not None
    assert late.resource_version > 7, "the predecessor's patch of it may still land"


def test_refused__says_nothing_about_an_earlier_write() -> None:
    """The earlier admission may still land, so the run is fenced before its slot is given away."""
    store = store_of([make_run(1)])
    term = renew(LISTED, store, {"a": 1})
    for step in (Term.lost_answer, Term.refused):
        write = choose_write(term, store, {"a": 1}, never, always)
        assert write is not None
        assert write.purpose is Purpose.ADMIT
        term = step(term.hand_over(write), write)
    write = choose_write(term, store, {"a": 1}, never, always)
    assert write is not None
    assert write.purpose is Purpose.FENCE


@pytest.mark.parametrize("local_queue", ["", "team-a"])
def test_choose_write__hands_runs_with_a_queue_of_kueue_to_it(local_queue: str) -> None:
    store, slots = store_of([make_run(1, local_queue=local_queue)]), {"a": 1}
    term = renew(LISTED, store, slots)
    chosen = choose_write(term, store, slots, never, always)
    assert chosen is not None
    assert (chosen.purpose, chosen.gates_left) == (Purpose.ADMIT, "" if local_queue else None)
