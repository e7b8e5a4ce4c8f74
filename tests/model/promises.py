"""The promises that hold after every step of a world, and the error if one doesn't."""

from __future__ import annotations

from collections import Counter

from app.dispatcher import next_admission
from app.dispatcher import write as writes
from app.dispatcher.intent import Pin
from app.dispatcher.leadership import Leadership
from app.dispatcher.run_store import RunStore
from app.dispatcher.term import Standing, Term
from app.dispatcher.write import Purpose, Write
from app.domain.run import Phase, Run
from tests.model.sides import Call, Ending, Side
from tests.model.world import World


class BrokenPromiseError(AssertionError):
    """A schedule has broken a promise."""


def check_start(world: World, call: Call, index: int) -> None:
    """Promises 2 and 3, when a run starts."""
    definition, depends = world.kind.runs[index]
    active = sum(
        run.phase is Phase.ADMITTED and world.kind.runs[other][0] == definition and other not in world.by_hand
        for other, run in enumerate(world.runs)
    )
    if active > world.kind.slots.get(definition, 0):
        raise BrokenPromiseError(f"promise 2: {active} runs of {definition} are active")
    for number, side in enumerate(world.sides):
        term = side.leadership.term
        if term is None or not term.is_listed or not side.connected or not world.leads(side):
            continue
        accounted = (term.landing() | term.unsent).union(*term.to_suspect.values())
        if call.write.pin not in accounted and number != call.side:
            raise BrokenPromiseError(f"promise 2: run {index} starts, and the leader d{number} does not expect it")
        if depends and side.listed_unready and not world.ready and call.write.pin not in accounted:
            raise BrokenPromiseError(f"promise 3: run {index} starts, and its dependency was never ready since")
    own = world.sides[call.side]
    if depends and not world.ready and own.life == call.life and own.listed_unready and world.leads(own):
        term = own.leadership.term
        if term is not None and term.number == call.write.term:
            raise BrokenPromiseError(f"promise 3: d{call.side} starts run {index}, and knew better")


def check_choice(world: World, side: Side, store: RunStore, leadership: Leadership) -> None:
    """Promise 5: a definition with a free slot and nothing under way is in the very next intent.

    Unless the intent would be full even with one run of each definition. And the intent has no unsent run that has no
    slot, and no more unsent runs than there is room for.
    """
    term = leadership.term
    assert term is not None
    busy = {write.definition for write in term.in_flight} | term.to_suspect.keys()
    busy |= {run.definition for pin in term.landing() if (run := store.get(pin.uid)) is not None}
    unsent = Counter(run.definition for run in leadership.proposed)
    unsent.update(
        run.definition for pin in term.unsent if (run := _live(store, pin)) is not None and store.may_start(run)
    )
    _check_room(world, store, term, unsent)
    for definition in store.startable():
        has_slot = store.active(definition) < world.slots.get(definition, 0)
        if has_slot and definition not in busy | unsent.keys() and not _is_full(term, unsent, definition):
            raise BrokenPromiseError(f"promise 5: the next intent leaves {definition} out")


def _check_room(world: World, store: RunStore, term: Term, unsent: Counter[str]) -> None:
    held = Counter(run.definition for pin in term.landing() if (run := _live(store, pin)) is not None)
    taken: Counter[Standing] = Counter()
    for definition, count in unsent.items():
        taken[term.standing(definition)] += count
        if store.active(definition) + held[definition] + count > world.slots.get(definition, 0):
            raise BrokenPromiseError(f"promise 5: the next intent has {count} runs of {definition}: too few slots")
    untried = taken[Standing.UNTRIED]
    if (
        taken[Standing.FAILING] > writes.SLOW_WRITERS
        or untried > next_admission.BATCH // 2
        or untried + taken[Standing.HEALTHY] > next_admission.BATCH
    ):
        raise BrokenPromiseError("promise 5: the next intent has more unsent runs than it has room for")


def _is_full(term: Term, unsent: Counter[str], definition: str) -> bool:
    """Whether an intent has no room for the first run of this definition, even if all others have only one."""
    firsts = Counter(term.standing(name) for name in unsent)
    standing = term.standing(definition)
    if standing is Standing.FAILING:
        return firsts[standing] >= writes.SLOW_WRITERS
    is_half_full = standing is Standing.UNTRIED and firsts[standing] >= next_admission.BATCH // 2
    return is_half_full or firsts[Standing.UNTRIED] + firsts[Standing.HEALTHY] >= next_admission.BATCH


def check_turn(world: World, side: Side, write: Write) -> None:
    """Promises 3 and 5, when a write is handed to a writer."""
    index = int(write.pin.uid)
    if write.purpose is Purpose.ADMIT and world.kind.runs[index][1] and not side.sees_ready:
        raise BrokenPromiseError(f"promise 3: run {index} is sent, and its dependency is known as unready")
    if write.purpose is Purpose.ADMIT:
        _check_slot(world, side, write)
    _check_writers(side, write)
    side.overtaken.pop(write.definition, None)
    for waiting in _able_definitions(world, side) - {write.definition}:
        others = side.overtaken.setdefault(waiting, {})
        others[write.definition] = others.get(write.definition, 0) + 1
        if others[write.definition] > 1:
            raise BrokenPromiseError(f"promise 5: {write.definition} is served twice before {waiting}")


def _check_writers(side: Side, write: Write) -> None:
    """Promise 5: what fails takes one writer per definition, and what is slow takes further ones beside the others'."""
    term = side.leadership.term
    assert term is not None
    definition = write.definition
    if any(other.definition == definition for other in term.in_flight):
        if definition not in term.healthy:
            raise BrokenPromiseError(f"promise 5: {definition} is not healthy, and gets another writer")
        slow = {one.definition for one in term.slow}
        if definition in slow and sum(other.definition in slow for other in term.in_flight) >= writes.SLOW_WRITERS:
            raise BrokenPromiseError(f"promise 5: {definition} is slow, and gets a writer of the others")
    is_untried = definition not in term.healthy | term.failing
    if is_untried and len(_untried_in_prompt_writers(term)) >= writes.PROMPT_WRITERS - 1:
        raise BrokenPromiseError("promise 5: definitions that have not been tried hold every writer")


def _untried_in_prompt_writers(term: Term) -> list[Write]:
    slow = term.slow[: writes.SLOW_WRITERS]
    tried = term.healthy | term.failing
    return [write for write in term.in_flight if write not in slow and write.definition not in tried]


def check_given_up(world: World, side: Side) -> None:
    """Promise 5: slow writes are given up where another definition waits for their writer."""
    term = side.leadership.term
    assert term is not None
    waiting = _able_definitions(world, side, any_writer=True)
    stuck = [write for write in term.slow[writes.SLOW_WRITERS :] if write.definition not in term.failing]
    if len(term.given_up) < min(len(waiting), len(stuck)):
        raise BrokenPromiseError(f"promise 5: {sorted(waiting)} wait for slow writes that are not given up")


def _check_slot(world: World, side: Side, write: Write) -> None:
    """Promise 2: a slot is taken when the write is handed over, and not twice."""
    store, term = world.store_of(side), side.leadership.term
    assert term is not None
    landing = {run.uid for pin in term.landing() | {write.pin} if (run := _live(store, pin)) is not None}
    held = sum(world.kind.runs[int(uid)][0] == write.definition for uid in landing)
    if store.active(write.definition) + held > world.slots.get(write.definition, 0):
        raise BrokenPromiseError(f"promise 2: {write.name} is sent, and no slot is free for it")


def check_idle(world: World, side: Side) -> None:
    """Promise 5: no writer is idle while a definition that is well could use it."""
    if able := _able_definitions(world, side):
        raise BrokenPromiseError(f"promise 5: a writer is free, and {sorted(able)} get none")


def _able_definitions(world: World, side: Side, *, any_writer: bool = False) -> set[str]:
    """The definitions that are well, have nothing in flight, and have a run in the Lease that could be sent now.

    Empty while all writers are taken, unless `any_writer`; of each definition's writes no more count than it may have.
    """
    term = side.leadership.term
    assert term is not None
    if not term.is_confirmed:
        return set()
    prompt = [write.definition for write in term.in_flight if write not in term.slow]
    fair = sum(min(prompt.count(definition), writes.PROMPT_WRITERS - 1) for definition in set(prompt))
    if not any_writer and fair + max(0, len(term.slow) - writes.SLOW_WRITERS) >= writes.PROMPT_WRITERS:
        return set()
    may_try = any_writer or len(_untried_in_prompt_writers(term)) < writes.PROMPT_WRITERS - 1
    store, flying = world.store_of(side), {write.definition for write in term.in_flight}
    landing = [run for pin in term.landing() if (run := _live(store, pin)) is not None]
    able = set()
    for pin in term.unsent:
        run = _live(store, pin)
        if run is None or not store.may_start(run) or run.definition in flying | term.failing:
            continue
        if not may_try and run.definition not in term.healthy:
            continue
        held = sum(other.definition == run.definition for other in landing)
        if store.active(run.definition) + held < world.slots.get(run.definition, 0):
            able.add(run.definition)
    return able


def check_giving_up(world: World, ending: Ending) -> None:
    """Promise 1, when a run is judged that may have started: nobody stops what runs."""
    if world.runs[ending.run].phase is Phase.ADMITTED and world.runs[ending.run].runs:
        raise BrokenPromiseError(f"promise 1: run {ending.run} has started, and is given up")


def check_ending(world: World, ending: Ending) -> None:
    """Promise 1, when a run is ended because its time is over."""
    run = world.runs[ending.run]
    if not ending.gives_up and (run.phase is not Phase.QUEUED or world.now < 1):
        raise BrokenPromiseError(f"promise 1: run {ending.run} is ended, and was not queued for too long")
    if ending.gives_up and (run.phase is not Phase.ADMITTED or not run.awaits_start or world.now <= run.since):
        raise BrokenPromiseError(f"promise 1: run {ending.run} is given up, and has not been late to start")


def _live(store: RunStore, pin: Pin) -> Run | None:
    run = store.get(pin.uid)
    is_live = run is not None and run.resource_version == pin.version and run.phase is Phase.QUEUED
    return run if is_live else None
