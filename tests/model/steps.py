"""What may happen next in a world, and what happens then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.run import Phase
from tests.model import cluster_steps, lease_steps, run_steps, timeout_steps
from tests.model.sides import Call, Side, order_of_call
from tests.model.world import World

Action = tuple[Any, ...]
"""A step: its name, and what it is about."""

_STEPS: Mapping[str, Callable[..., None]] = {
    "takes": lease_steps.takes,
    "renews": lease_steps.renews,
    "gives back": lease_steps.gives_back,
    "lease write answered": lease_steps.lease_write_answered,
    "lease write lands unanswered": lease_steps.lease_write_lands_unanswered,
    "lease write times out": lease_steps.lease_write_times_out,
    "lease write arrives late": lease_steps.lease_write_arrives_late,
    "clock runs out": lease_steps.clock_runs_out,
    "lists early": lease_steps.lists_early,
    "lists": lease_steps.lists,
    "lists again": lease_steps.lists_again,
    "watch goes on": lease_steps.watch_goes_on,
    "lists what is older": lease_steps.lists_what_is_older,
    "sees": run_steps.sees,
    "parks": run_steps.parks,
    "sees the dependency": run_steps.sees_the_dependency,
    "writes": run_steps.writes,
    "answered": run_steps.answered,
    "lands unanswered": run_steps.lands_unanswered,
    "times out": run_steps.times_out,
    "refused": run_steps.refused,
    "not sent": run_steps.not_sent,
    "takes long": run_steps.takes_long,
    "arrives late": run_steps.arrives_late,
    "is lost": run_steps.is_lost,
    "dies": cluster_steps.dies,
    "started by hand": cluster_steps.started_by_hand,
    "ends": cluster_steps.ends,
    "dependency changes": cluster_steps.dependency_changes,
    "slots change": cluster_steps.slots_change,
    "Lease deleted": cluster_steps.lease_deleted,
    "saved": cluster_steps.saved,
    "restored": cluster_steps.restored,
    "time passes": timeout_steps.time_passes,
    "container starts": timeout_steps.container_starts,
    "start is shown": timeout_steps.start_is_shown,
    "ends in the queue": timeout_steps.ends_in_the_queue,
    "gives up": timeout_steps.gives_up,
    "ending arrives": timeout_steps.ending_arrives,
}


def apply(world: World, action: Action) -> None:
    """Take a step.

    Raises:
        BrokenPromiseError: a promise does not hold any more.
    """
    name, *about = action
    if name in world.kind.limits:
        world.counts[name] = world.counts.get(name, 0) + 1
    _STEPS[name](world, *about)


def actions(world: World, without: frozenset[str] = frozenset()) -> list[Action]:
    """Every step that may come next, those of these names left out."""
    limits, counts = world.kind.limits, world.counts
    spent = {name for name, limit in limits.items() if counts.get(name, 0) >= limit} | without
    found: list[Action] = []
    for number, side in enumerate(world.sides):
        found += _actions_of(world, number, side, spent)
    # Sorted, so that a seed gives the same schedule in every process.
    for call in sorted(world.calls, key=order_of_call):
        found += _actions_on(world, call)
    late = sorted(world.late_lease_calls, key=lambda call: (call.intent.holder, call.intent.sequence))
    found += [("lease write arrives late", call) for call in late]
    for index, run in enumerate(world.runs):
        if run.phase is Phase.ADMITTED:
            found.append(("ends", index))
        elif run.phase is Phase.QUEUED and "started by hand" not in spent:
            found.append(("started by hand", index))
    if "slots change" not in spent:
        found += [("slots change", definition) for definition in sorted(world.kind.slots)]
    if world.kind.queue_timeouts or world.kind.start_deadlines:
        found += _actions_of_time(world)
    found += [("dependency changes",), ("Lease deleted",), ("saved",)]
    if world.saved is not None:
        found.append(("restored",))
    return [action for action in found if action[0] not in spent]


def _actions_of(world: World, number: int, side: Side, spent: set[str]) -> list[Action]:
    found: list[Action] = []
    leadership = side.leadership
    if side.lease_call is not None:
        found += [("lease write answered", number), ("lease write lands unanswered", number)]
        found.append(("lease write times out", number))
    elif leadership.term is None:
        found.append(("takes", number))
    else:
        if leadership.term.is_listed or leadership.claim.unanswered_writes:
            found.append(("renews", number))
        found.append(("gives back", number))
    if leadership.term is not None:
        found.append(("clock runs out", number))
        if leadership.term.is_listed:
            found += _actions_on_view(world, number, side, spent)
        else:
            found.append(("lists", number))
    elif not world.rules.lists_after_taking:
        found.append(("lists early", number))
    found.append(("dies", number))
    return found


def _actions_on_view(world: World, number: int, side: Side, spent: set[str]) -> list[Action]:
    assert side.view is not None
    if side.connected:
        found: list[Action] = [("writes", number)]
        for index, run in enumerate(world.runs):
            if side.view[index].version < run.version:
                found.append(("sees", number, index))
        if side.sees_ready != world.ready:
            found.append(("sees the dependency", number))
        if world.kind.queue_timeouts and not timeout_steps.queue_timeouts(world, side) <= world.endings:
            found.append(("ends in the queue", number))
        if world.kind.start_deadlines and not timeout_steps.givings_up(world, side) <= world.endings:
            found.append(("gives up", number))
    else:
        found = [("lists again", number), ("lists what is older", number)]
        if not (side.outdated and world.rules.checks_resumed_watches):
            found.append(("watch goes on", number))
    if "parks" not in spent:
        found += [("parks", number, index) for index in range(len(world.runs))]
    return found


def _actions_on(world: World, call: Call) -> list[Action]:
    if not world.is_awaited(call):
        return [("arrives late", call), ("is lost", call)]
    found: list[Action] = [("answered", call), ("lands unanswered", call), ("times out", call)]
    found += [("refused", call), ("not sent", call)]
    term = world.sides[call.side].leadership.term
    if term is not None and call.write not in term.slow:
        found.append(("takes long", call))
    return found


def _actions_of_time(world: World) -> list[Action]:
    found: list[Action] = [("time passes",)]
    found += [("ending arrives", ending) for ending in sorted(world.endings, key=str)]
    if world.kind.start_deadlines:
        for index, run in enumerate(world.runs):
            if run.phase is Phase.ADMITTED and run.awaits_start:
                found.append(("start is shown", index) if run.runs else ("container starts", index))
    return found
