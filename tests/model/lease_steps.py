"""Steps on the Lease: it is taken, renewed and given back, and a dispatcher lists the runs in its term."""

from __future__ import annotations

from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import SeenLease
from tests.model.promises import check_choice
from tests.model.sides import LeaseCall, Side
from tests.model.world import World


def takes(world: World, number: int) -> None:
    side = world.sides[number]
    leadership = side.leadership.look(world.lease)
    if leadership.term is None:
        leadership, intent = leadership.prepare_take()
        side.lease_call = LeaseCall(world.lease.version if world.lease else "", intent, releases=False)
    side.leadership = leadership


def renews(world: World, number: int) -> None:
    side = world.sides[number]
    if side.leadership.claim.unanswered_writes:  # as the shell does before it writes again
        _change_leadership(world, side, side.leadership.look(world.lease))
    leadership = side.leadership
    base = leadership.claim.base
    if leadership.term is None or base is None:
        return
    store = world.store_of(side)
    may_choose = side.connected
    leadership, intent = leadership.prepare_renewal(store, world.slots if may_choose else {}, _never)
    if may_choose:
        check_choice(world, side, store, leadership)
    assert leadership.term is not None
    changes = base.intent is None or base.intent[3:] != intent[3:] or leadership.proposed
    if not changes and (leadership.term.is_confirmed or not leadership.confirms):
        side.leadership = side.leadership._replace(term=leadership.term)
        return  # a mere renewal changes nothing
    side.leadership = leadership
    side.lease_call = LeaseCall(base.version, intent, releases=False)


def gives_back(world: World, number: int) -> None:
    side = world.sides[number]
    base = side.leadership.claim.base
    assert base is not None
    side.leadership, intent = side.leadership.prepare_release()
    side.lease_call = LeaseCall(base.version, intent, releases=True)
    side.end_view()


def _store_lease(world: World, call: LeaseCall) -> SeenLease | None:
    """Compare and swap; `None`: a conflict."""
    if call.base != (world.lease.version if world.lease else "") and world.rules.compares_lease_versions:
        return None
    world.lease_version += 1
    holder = call.intent.holder
    if call.releases and not call.intent.pins and call.intent.complete:
        holder = ""
    world.lease = SeenLease(str(world.lease_version), holder, 15.0, call.intent.transitions, call.intent)
    return world.lease


def lease_write_answered(world: World, number: int) -> None:
    side = world.sides[number]
    call, side.lease_call = side.lease_call, None
    assert call is not None
    stored = _store_lease(world, call)
    if stored is None:
        _change_leadership(world, side, side.leadership.conflicts())
    elif call.releases:
        side.leadership = side.leadership._replace(claim=side.leadership.claim.look(stored))
    else:
        _change_leadership(world, side, side.leadership.stored(stored))


def lease_write_lands_unanswered(world: World, number: int) -> None:
    side = world.sides[number]
    call, side.lease_call = side.lease_call, None
    assert call is not None
    _store_lease(world, call)
    if not call.releases:
        _change_leadership(world, side, side.leadership.lost_answer())


def lease_write_times_out(world: World, number: int) -> None:
    side = world.sides[number]
    call, side.lease_call = side.lease_call, None
    assert call is not None
    world.late_lease_calls |= {call}
    if not call.releases:
        _change_leadership(world, side, side.leadership.lost_answer())


def lease_write_arrives_late(world: World, call: LeaseCall) -> None:
    world.late_lease_calls -= {call}
    _store_lease(world, call)


def _change_leadership(world: World, side: Side, leadership: Leadership) -> None:
    if leadership.term is None or side.leadership.term is None:
        side.end_view()
    side.leadership = leadership


def clock_runs_out(world: World, number: int) -> None:
    side = world.sides[number]
    if side.lease_call is not None:
        lease_write_times_out(world, number)
    _change_leadership(world, side, side.leadership.end_term())


def lists_early(world: World, number: int) -> None:
    world.sides[number].early = (tuple(world.runs), world.ready)


def lists(world: World, number: int) -> None:
    side = world.sides[number]
    assert side.leadership.term is not None
    side.view, side.sees_ready = side.early or (tuple(world.runs), world.ready)
    side.early, side.connected = None, True
    side.listed_unready = not world.ready
    term = side.leadership.term.listed(world.store_of(side))
    side.leadership = side.leadership._replace(term=term)


def lists_again(world: World, number: int) -> None:
    """A watch broke, and everything is listed once more in the same term."""
    side = world.sides[number]
    side.view, side.sees_ready = tuple(world.runs), world.ready
    side.connected, side.outdated = True, False
    side.listed_unready = not world.ready


def watch_goes_on(world: World, number: int) -> None:
    """A watch broke, and goes on from the last change that it has shown."""
    world.sides[number].connected = True


def lists_what_is_older(world: World, number: int) -> None:
    """The list is older than what was known, which ends the term."""
    side = world.sides[number]
    if side.lease_call is not None:
        lease_write_times_out(world, number)
    _change_leadership(world, side, side.leadership.end_term())


def _never(_definition: str) -> bool:
    return False
