"""Exploring worlds: all schedules of a small one, and schedules drawn by a seed in a larger one."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.run import Phase
from tests.model.promises import BrokenPromiseError
from tests.model.state_key import state_key
from tests.model.steps import Action, actions, apply
from tests.model.world import Kind, Rules, World


@dataclass(frozen=True, slots=True)
class Found:
    """What an exploration came to.

    Attributes:
        states: how many different ones were seen, or steps taken by schedules that were drawn.
        schedule: the steps that broke a promise; `None`: none did.
        broken: which promise.
    """

    states: int
    schedule: list[Action] | None = None
    broken: str = ""


def explore_all(
    kind: Kind,
    rules: type[Rules] = Rules,
    *,
    first_steps: Sequence[Action] = (),
    most_states: int,
    most_steps: int = 1 << 30,
) -> Found:
    """Take every schedule of a world, the shortest first.

    Args:
        kind: of world.
        rules: of the dispatchers.
        first_steps: the steps with which each schedule begins.
        most_states: an exploration that meets more states than these fails: its bounds are too wide.
        most_steps: the longest schedules.
    """
    with kind.bounded():
        first = World(kind, rules)
        for action in first_steps:
            assert action in actions(first), f"{action} is not possible now"
            apply(first, action)
        return _explore_all(first, most_states, most_steps)


def _explore_all(first: World, most_states: int, most_steps: int) -> Found:
    seen: dict[int, tuple[int, Action] | None] = {hash(state_key(first)): None}
    waiting = deque([(first, hash(state_key(first)), 0)])
    while waiting:
        world, key, depth = waiting.popleft()
        if depth >= most_steps:
            continue
        for action in actions(world):
            after = world.copy()
            try:
                apply(after, action)
            except BrokenPromiseError as error:
                return Found(len(seen), [*_path(seen, key), action], str(error))
            found = hash(state_key(after))
            if found in seen:
                continue
            seen[found] = (key, action)
            if len(seen) > most_states:
                raise RuntimeError(f"more than {most_states} states: choose narrower bounds")
            waiting.append((after, found, depth + 1))
    return Found(len(seen))


def _path(seen: dict[int, tuple[int, Action] | None], key: int) -> list[Action]:
    steps: list[Action] = []
    while (before := seen[key]) is not None:
        key, action = before
        steps.append(action)
    return steps[::-1]


FAULTS = (
    "dies",
    "clock runs out",
    "gives back",
    "takes",
    "Lease deleted",
    "saved",
    "restored",
    "not sent",
    "refused",
    "times out",
    "lands unanswered",
    "lease write lands unanswered",
    "lease write times out",
    "is lost",
    "dependency changes",
    "arrives late",
    "lease write arrives late",
    "takes long",
    "parks",
    "started by hand",
    "slots change",
)
"""Steps that are drawn less often than the others, and of which each schedule has some kinds only."""


def explore_one(kind: Kind, seed: int, *, steps: int, rules: type[Rules] = Rules, completes: bool = False) -> Found:
    """Take one schedule that is drawn by a seed: the same seed gives the same schedule.

    Args:
        kind: of world.
        seed: of the schedule.
        steps: how many.
        rules: of the dispatchers.
        completes: whether faults stop afterwards, and every run has to come to its end.
    """
    with kind.bounded():
        return _explore_one(World(kind, rules), random.Random(seed), steps, completes=completes)


def _explore_one(world: World, draw: random.Random, steps: int, *, completes: bool) -> Found:
    rarity = draw.choice((0.05, 0.15, 0.3))
    share = draw.choice((0.3, 0.6))
    faults = {name for name in FAULTS if draw.random() < share} | {"takes"}
    without = frozenset(FAULTS) - faults
    schedule = list[Action]()
    for _ in range(steps):
        usual: list[Action] = []
        rare: list[Action] = []
        for action in actions(world, without):
            (rare if action[0] in faults else usual).append(action)
        chosen = rare if rare and (not usual or draw.random() < rarity) else usual
        if not chosen:
            break
        action = chosen[int(draw.random() * len(chosen))]
        schedule.append(action)
        try:
            apply(world, action)
        except BrokenPromiseError as error:
            return Found(len(schedule), schedule, str(error))
    if completes:
        try:
            _complete(world, schedule)
        except BrokenPromiseError as error:
            return Found(len(schedule), schedule, str(error))
    return Found(len(schedule))


_HELPFUL = (
    "lease write answered",
    "answered",
    "arrives late",
    "lists",
    "lists again",
    "lists what is older",
    "sees",
    "sees the dependency",
    "lease write arrives late",
    "ends",
    "renews",
    "writes",
    "takes",
)
"""Steps that bring runs to their end, the first ones first."""


def _complete(world: World, schedule: list[Action]) -> None:
    """Go on without faults until every run has ended: none is lost."""
    world.kind = replace(world.kind, limits={})
    world.closed = frozenset()
    for side in world.sides:
        side.parked = frozenset()
    if not world.ready:
        apply(world, ("dependency changes",))
    order = {name: rank for rank, name in enumerate(_HELPFUL)}
    for turn in range(300):
        if all(run.phase is Phase.FINISHED for run in world.runs):
            return
        leads = any(side.leadership.term is not None for side in world.sides)
        useful = sorted(
            (action for action in actions(world) if action[0] in order and not (leads and action[0] == "takes")),
            key=lambda action: (order[action[0]], str(action)),
        )
        if not useful:
            break
        # By turns, so that a step that changes nothing holds up no other.
        quiet = [action for action in useful if action[0] in ("renews", "writes")]
        action = useful[0] if useful[0] not in quiet or not quiet else quiet[turn % len(quiet)]
        schedule.append(action)
        apply(world, action)
    raise BrokenPromiseError("promise 1: a run does not come to its end")
