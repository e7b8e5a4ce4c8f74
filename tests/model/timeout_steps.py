"""Steps of what ends runs whose time is over: in the queue, or after their admission if they do not start."""

from __future__ import annotations

from app.common.types import Json
from app.dispatcher.queue_timeout_enforcer import describe_wait
from app.dispatcher.start_deadline import find_start_deadline
from app.domain.attempt import Attempt
from app.domain.run import Phase
from app.kube import manifests
from tests.model.promises import check_ending, check_giving_up
from tests.model.sides import Ending, RunState, Side
from tests.model.world import MICROSECONDS, World


def time_passes(world: World) -> None:
    world.now += 1


def container_starts(world: World, index: int) -> None:
    world.runs[index] = world.runs[index]._replace(runs=True)


def start_is_shown(world: World, index: int) -> None:
    """The Job controller writes into the Job's status that the container has started."""
    run = world.runs[index]
    world.runs[index] = run._replace(version=world.next_version(run), awaits_start=False)


def ends_in_the_queue(world: World, number: int) -> None:
    world.endings |= queue_timeouts(world, world.sides[number])


def queue_timeouts(world: World, side: Side) -> frozenset[Ending]:
    """What a leader sends to end the queued runs whose time is over."""
    store = world.store_of(side)
    return frozenset(
        _ending(run.uid, manifests.build_queue_timeout(run.resource_version, describe_wait(store, run, world.slots)))
        for run in store.overdue(world.now * MICROSECONDS)
    )


def gives_up(world: World, number: int) -> None:
    side = world.sides[number]
    for ending in givings_up(world, side):
        check_giving_up(world, ending)
        world.endings |= {ending}


def givings_up(world: World, side: Side) -> frozenset[Ending]:
    """What a leader that reads the pods now sends to end the runs that have not started in time."""
    found = set[Ending]()
    now = world.now * MICROSECONDS
    for run in world.store_of(side).starting():
        assert run.pending_start is not None
        deadline = find_start_deadline(run.pending_start, _attempts(run.uid, world.runs[int(run.uid)]), now)
        if deadline is not None and deadline.due <= now:
            patch = manifests.build_start_timeout(run.resource_version, deadline.why)
            found.add(_ending(run.uid, patch, gives_up=True))
    return frozenset(found)


def _attempts(uid: str, run: RunState) -> list[Attempt]:
    if run.phase is not Phase.ADMITTED:
        return []
    phase = "Running" if run.runs else "Pending"
    return [Attempt(uid, "pod", run.since * MICROSECONDS, phase, run.runs, 0, None, None)]


def _ending(uid: str, patch: Json, *, gives_up: bool = False) -> Ending:
    version = patch["metadata"].get("resourceVersion")
    return Ending(int(uid), None if version is None else int(version), gives_up)


def ending_arrives(world: World, ending: Ending) -> None:
    world.endings -= {ending}
    run = world.runs[ending.run]
    if run.phase is Phase.FINISHED or ending.version not in (None, run.version):
        return
    check_ending(world, ending)
    changed = run._replace(version=world.next_version(run))
    world.runs[ending.run] = (
        changed._replace(awaits_start=False) if ending.gives_up else changed._replace(phase=Phase.FINISHED)
    )
