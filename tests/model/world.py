"""A small cluster in which dispatchers run the product's own decisions, one step at a time.

The decisions are `Leadership`, `Term`, `Claim` and `RunStore` of app/dispatcher; the calls between them and the API
server are the model's (`tests.model.steps`). A call can be answered, be carried out without an answer, be lost, or
arrive at any later time. Nothing here has a clock: a candidate may take the Lease at any moment, and a dispatcher may
pause for any time between two of its steps, so what holds here holds for every clock. Only the timeouts of runs depend
on time, and it passes by a step of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from app.dispatcher import fence, next_admission
from app.dispatcher import term as terms
from app.dispatcher import write as writes
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.intent import Intent
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim, SeenLease
from app.dispatcher.run_store import RunStore
from app.domain.run import PendingStart, Phase, Run
from tests.model.sides import Call, Ending, LeaseCall, RunState, Side

DEPENDENCY = "db"
MICROSECONDS = 1_000_000
"""Each time that time passes, it is a second later."""

EPOCH = 1000
"""By how much versions are ahead after a restore: those of the lost history do not come again."""


TimedRuns = tuple[tuple[tuple[str, bool], ...], bool, bool]
"""The runs of a kind of world, whether they have a time in the queue, and whether they have a time to start."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a world is made of, and how often each fault may happen in one schedule.

    Attributes:
        runs: of each run its definition, and whether it depends on `DEPENDENCY`.
        slots: by definition.
        dispatchers: how many there are.
        limits: by the name of an action, how often it may happen; one that isn't named may happen any number of times.
        ready: whether the dependency is ready at first.
        fresh: whether there is no Lease at first; else it was given back by somebody who left nothing under way.
        bounds: constants of the decisions that are smaller in this world, so that it reaches them.
        queue_timeouts: whether no run may be queued for longer than until time passes for the first time.
        start_deadlines: whether each run has to start before time passes once more after its admission.
    """

    runs: tuple[tuple[str, bool], ...]
    slots: Mapping[str, int]
    dispatchers: int = 2
    limits: Mapping[str, int] = field(default_factory=dict)
    ready: bool = True
    fresh: bool = True
    bounds: Mapping[str, int] = field(default_factory=dict)
    queue_timeouts: bool = False
    start_deadlines: bool = False

    @property
    def timed_runs(self) -> TimedRuns:
        """What the runs are like."""
        return self.runs, self.queue_timeouts, self.start_deadlines

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Have the product's decisions keep this world's bounds."""
        before = [
            (module, name, getattr(module, name))
            for name in self.bounds
            for module in (fence, next_admission, terms, writes)
            if hasattr(module, name)
        ]
        try:
            for module, name, _ in before:
                setattr(module, name, self.bounds[name])
            yield
        finally:
            for module, name, bound in before:
                setattr(module, name, bound)


class Rules:
    """The rules outside the decisions: they are the shell's, and each can be taken out in a mutant."""

    leadership: type[Leadership] = Leadership
    compares_lease_versions = True
    lists_after_taking = True
    checks_resumed_watches = True


class World:
    """Everything at one moment. `tests.model.steps` lists what may happen next, does it and checks the promises."""

    def __init__(self, kind: Kind, rules: type[Rules] = Rules) -> None:
        self.kind = kind
        self.rules = rules
        self.runs = [RunState(1, Phase.QUEUED)] * len(kind.runs)
        self.ready = kind.ready
        self.lease: SeenLease | None = None
        self.lease_version = 0
        self.calls: frozenset[Call] = frozenset()
        self.late_lease_calls: frozenset[LeaseCall] = frozenset()
        self.sides = [Side(rules.leadership(Claim(f"d{number}.0"))) for number in range(kind.dispatchers)]
        self.counts: dict[str, int] = {}
        self.saved: tuple[Any, ...] | None = None
        self.epoch = 0
        self.by_hand: frozenset[int] = frozenset()
        self.closed: frozenset[str] = frozenset()  # the definitions that have no slots for now
        self.now = 0  # how often time has passed; only the timeouts of runs depend on it
        self.endings: frozenset[Ending] = frozenset()
        if not kind.fresh:
            self.lease = SeenLease("0", "", 15.0, 0, Intent("", 0, 0, frozenset(), complete=True))

    def copy(self) -> World:
        """A world that can change on its own."""
        new = World.__new__(World)
        new.__dict__.update(self.__dict__)
        new.runs = list(self.runs)
        new.sides = [side.copy() for side in self.sides]
        new.counts = dict(self.counts)
        return new

    @property
    def slots(self) -> dict[str, int]:
        """How many runs of each definition may be active now."""
        return {name: limit for name, limit in self.kind.slots.items() if name not in self.closed}

    def store_of(self, side: Side) -> RunStore:
        """The product's store of runs with what this side knows."""
        return _store_of(self.kind.timed_runs, side.view or (), side.sees_ready, side.parked)

    def is_awaited(self, call: Call) -> bool:
        """Whether the dispatcher that sent it still waits for the answer."""
        side = self.sides[call.side]
        term = side.leadership.term
        return side.life == call.life and term is not None and call.write in term.in_flight

    def leads(self, side: Side) -> bool:
        """Whether what this side wrote is what stands in the Lease."""
        base = side.leadership.claim.base
        return self.lease is not None and base is not None and base.version == self.lease.version

    def next_version(self, run: RunState) -> int:
        """The version of a run after a write."""
        return max(run.version, self.epoch * EPOCH) + 1


@lru_cache(maxsize=1 << 15)
def _store_of(runs: TimedRuns, view: tuple[RunState, ...], ready: bool, parked: frozenset[int]) -> RunStore:
    store = RunStore(ChangeSignal())
    store.set_ready(DEPENDENCY, ready)
    store.replace([_run_of(runs, index, state) for index, state in enumerate(view)], 1)
    for index in parked:
        store.park(str(index))
    return store


@lru_cache(maxsize=1 << 12)
def _run_of(runs: TimedRuns, index: int, state: RunState) -> Run:
    (definition, depends), queue_timeouts, start_deadlines = runs[0][index], *runs[1:]
    dependencies = (DEPENDENCY,) if depends else ()
    run = Run(str(index), f"run-{index}", definition, state.version, index, dependencies, state.phase)
    if queue_timeouts and state.phase is Phase.QUEUED:
        return replace(run, queue_timeout_seconds=1, queue_deadline=MICROSECONDS)
    if start_deadlines and state.phase is Phase.ADMITTED and state.awaits_start:
        return replace(run, pending_start=PendingStart(state.since * MICROSECONDS, 1, has_failed=False))
    return run
