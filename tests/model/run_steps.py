"""Steps on runs: a dispatcher sees them change, and its writes of them are sent, carried out and answered."""

from __future__ import annotations

from typing import Any

from app.dispatcher import next_admission
from app.dispatcher.write import Purpose
from app.domain.run import Phase
from tests.model.promises import check_given_up, check_idle, check_start, check_turn
from tests.model.sides import Call, RunState, Side, order_of_call
from tests.model.world import World


def sees(world: World, number: int, index: int) -> None:
    side = world.sides[number]
    assert side.view is not None
    side.view = (*side.view[:index], world.runs[index], *side.view[index + 1 :])


def parks(world: World, number: int, index: int) -> None:
    side = world.sides[number]
    side.parked ^= {index}


def sees_the_dependency(world: World, number: int) -> None:
    world.sides[number].sees_ready = world.ready


def writes(world: World, number: int) -> None:
    side = world.sides[number]
    term = side.leadership.term
    assert term is not None
    write = next_admission.choose_write(term, world.store_of(side), world.slots, _never, _always)
    if write is None:
        check_idle(world, side)
        changed = next_admission.give_up_slow_writes(term, world.store_of(side), world.slots, _never, _always)
        side.leadership = side.leadership._replace(term=changed)
        check_given_up(world, side)
        return
    if write.purpose is Purpose.READ:
        sees(world, number, int(write.pin.uid))
        side.leadership = side.leadership._replace(term=term.hand_over(write).succeeded(write))
        side.overtaken.pop(write.definition, None)
        return
    check_turn(world, side, write)
    side.leadership = side.leadership._replace(term=term.hand_over(write))
    copies = [call.copy for call in world.calls if call[:3] == (number, side.life, write)]
    world.calls |= {Call(number, side.life, write, max(copies, default=-1) + 1)}


def _carry_out(world: World, call: Call) -> bool:
    """Apply a write to its run; `False`: a conflict."""
    index = int(call.write.pin.uid)
    run = world.runs[index]
    if run.version != call.write.pin.version:
        return False
    if call.write.purpose is Purpose.FENCE:
        world.runs[index] = run._replace(version=world.next_version(run))
        return True
    assert run.phase is Phase.QUEUED
    world.runs[index] = RunState(world.next_version(run), Phase.ADMITTED, world.now)
    check_start(world, call, index)
    return True


def answered(world: World, call: Call) -> None:
    done = _carry_out(world, call)
    side, term = _end_of(world, call)
    if done:
        sees(world, call.side, int(call.write.pin.uid))
        changed = term.succeeded(call.write)
    else:
        changed = term.conflicts(call.write)
    side.leadership = side.leadership._replace(term=changed)


def _end_of(world: World, call: Call) -> tuple[Side, Any]:
    world.calls -= {call}
    side = world.sides[call.side]
    assert side.leadership.term is not None
    return side, side.leadership.term


def lands_unanswered(world: World, call: Call) -> None:
    _carry_out(world, call)
    side, term = _end_of(world, call)
    side.leadership = side.leadership._replace(term=term.lost_answer(call.write))


def times_out(world: World, call: Call) -> None:
    side, term = _end_of(world, call)
    world.calls |= {call}
    side.leadership = side.leadership._replace(term=term.lost_answer(call.write))


def refused(world: World, call: Call) -> None:
    side, term = _end_of(world, call)
    side.leadership = side.leadership._replace(term=term.refused(call.write))
    if call.write.pin in term.suspected:  # a rule refuses every write of this run
        for other in sorted(world.calls, key=order_of_call):
            if other.write.pin == call.write.pin and other in world.calls:
                (refused if world.is_awaited(other) else is_lost)(world, other)


def not_sent(world: World, call: Call) -> None:
    side, term = _end_of(world, call)
    side.leadership = side.leadership._replace(term=term.not_sent(call.write))


def takes_long(world: World, call: Call) -> None:
    side = world.sides[call.side]
    assert side.leadership.term is not None
    side.leadership = side.leadership._replace(term=side.leadership.term.mark_slow(call.write))


def arrives_late(world: World, call: Call) -> None:
    world.calls -= {call}
    _carry_out(world, call)


def is_lost(world: World, call: Call) -> None:
    world.calls -= {call}


def _never(_definition: str) -> bool:
    return False


def _always(_pin: object) -> bool:
    return True
