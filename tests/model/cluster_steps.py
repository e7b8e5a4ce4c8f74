"""Steps of the rest: processes die, runs end, dependencies and slots change, the Lease goes, etcd is restored."""

from __future__ import annotations

from app.dispatcher.lease import Claim
from app.domain.run import Phase
from tests.model.sides import RunState, Side
from tests.model.world import EPOCH, World


def dies(world: World, number: int) -> None:
    old = world.sides[number]
    if old.lease_call is not None:
        world.late_lease_calls |= {old.lease_call}
    new = Side(world.rules.leadership(Claim(f"d{number}.{old.life + 1}")))
    new.life = old.life + 1
    world.sides[number] = new


def started_by_hand(world: World, index: int) -> None:
    world.runs[index] = RunState(world.next_version(world.runs[index]), Phase.ADMITTED, world.now)
    world.by_hand |= {index}


def ends(world: World, index: int) -> None:
    run = world.runs[index]
    world.runs[index] = RunState(world.next_version(run), Phase.FINISHED, run.since)


def dependency_changes(world: World) -> None:
    world.ready = not world.ready
    if world.ready:
        for side in world.sides:
            side.listed_unready = False


def slots_change(world: World, definition: str) -> None:
    world.closed ^= {definition}


def lease_deleted(world: World) -> None:
    world.lease = None


def saved(world: World) -> None:
    world.saved = (tuple(world.runs), world.ready, world.lease)


def restored(world: World) -> None:
    """Etcd is restored: the API server was stopped meanwhile, so nothing under way arrives, and watches break."""
    assert world.saved is not None
    runs, world.ready, world.lease = world.saved
    world.runs, world.saved = list(runs), None
    world.epoch += 1
    world.lease_version = max(world.lease_version, world.epoch * EPOCH)
    world.late_lease_calls, calls = frozenset(), world.calls
    world.calls, world.endings = frozenset(), frozenset()
    for call in calls:
        side = world.sides[call.side]
        term = side.leadership.term
        if side.life == call.life and term is not None:
            side.leadership = side.leadership._replace(term=term.lost_answer(call.write))
    for side in world.sides:
        side.connected, side.listed_unready = False, False
        side.leadership = side.leadership.unconfirm()
        if side.view is not None and any(
            seen.version > run.version for seen, run in zip(side.view, world.runs, strict=True)
        ):
            side.outdated = True
        if side.lease_call is not None:
            side.lease_call = None
            side.leadership = side.leadership.lost_answer()
