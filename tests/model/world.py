"""A small cluster in which dispatchers run the product's own decisions, one step at a time.

The decisions are `Leadership`, `Term`, `Claim` and `RunStore` of app/dispatcher; the calls between them and the API
server are this module's. A call can be answered, be carried out without an answer, be lost, or arrive at any later
time. Nothing here has a clock: a candidate may take the Lease at any moment, and a dispatcher may pause for any time
between two of its steps, so what holds here holds for every clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from app.dispatcher import admission_rules
from app.dispatcher.admission_rules import WRITERS, Purpose, Term, Write
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim, SeenLease
from app.dispatcher.run_store import ChangeSignal, RunStore
from app.domain.run import Phase, Run

DEPENDENCY = "db"
EPOCH = 1000
"""By how much versions are ahead after a restore: those of the lost history do not come again."""

Action = tuple[Any, ...]
"""A step: its name, and what it is about."""


class BrokenPromiseError(AssertionError):
    """A schedule has broken a promise."""


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
        bounds: constants of `app.dispatcher.admission_rules` that are smaller in this world, so that it reaches them.
    """

    runs: tuple[tuple[str, bool], ...]
    slots: Mapping[str, int]
    dispatchers: int = 2
    limits: Mapping[str, int] = field(default_factory=dict)
    ready: bool = True
    fresh: bool = True
    bounds: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Have the product's decisions keep this world's bounds."""
        before = {name: getattr(admission_rules, name) for name in self.bounds}
        try:
            for name, bound in self.bounds.items():
                setattr(admission_rules, name, bound)
            yield
        finally:
            for name, bound in before.items():
                setattr(admission_rules, name, bound)


class Call(NamedTuple):
    """A write of a run that may reach the API server.

    Attributes:
        side: the dispatcher that sent it.
        life: which of its lives sent it.
        write: what it is.
        copy: tells it from an equal one that is under way, too.
    """

    side: int
    life: int
    write: Write
    copy: int


class LeaseCall(NamedTuple):
    """A write of the Lease that may reach the API server.

    Attributes:
        base: the version that it replaces; empty: none.
        intent: what it says.
        releases: whether it gives the Lease back.
    """

    base: str
    intent: Intent
    releases: bool


class RunState(NamedTuple):
    """A run as the API server has it."""

    version: int
    phase: Phase


class Rules:
    """The rules outside the decisions: they are the shell's, and each can be taken out in a mutant."""

    leadership: type[Leadership] = Leadership
    compares_lease_versions = True
    lists_after_taking = True


class Side:
    """One dispatcher, as it is between two steps.

    Attributes:
        leadership: the product's decisions.
        life: how often it has died.
        lease_call: its write of the Lease under way.
        view: the runs as it knows them; `None`: it has listed nothing in this term.
        parked: the runs that it leaves out for now.
        sees_ready: whether it knows the dependency as ready.
        listed_unready: whether the dependency was unready when it listed, and has been ever since.
        connected: whether its watches are open.
        overtaken: by definition that stands in the Lease, how many writes of each other one were sent before its own.
    """

    __slots__ = (
        "connected",
        "early",
        "leadership",
        "lease_call",
        "life",
        "listed_unready",
        "overtaken",
        "parked",
        "sees_ready",
        "view",
    )

    def __init__(self, leadership: Leadership) -> None:
        self.leadership = leadership
        self.life = 0
        self.lease_call: LeaseCall | None = None
        self.view: tuple[RunState, ...] | None = None
        self.early: tuple[tuple[RunState, ...], bool] | None = None
        self.parked: frozenset[int] = frozenset()
        self.sees_ready = False
        self.listed_unready = False
        self.connected = False
        self.overtaken: dict[str, dict[str, int]] = {}

    def copy(self) -> Side:
        """A side that can change on its own."""
        new = Side.__new__(Side)
        for name in Side.__slots__:
            setattr(new, name, getattr(self, name))
        new.overtaken = {name: dict(others) for name, others in self.overtaken.items()}
        return new

    def end_view(self) -> None:
        """Forget what it knew of the runs, as the end of a term has it."""
        self.view, self.connected, self.overtaken = None, False, {}


class World:
    """Everything at one moment. `actions` lists what may happen next, `apply` does it and checks the promises."""

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

    def key(self) -> tuple[Any, ...]:
        """What tells this world from others, as far as that matters for what may follow.

        Names, sequences and versions of the Lease are only ever compared for equality, so they are left out but for
        what they equal. How often one definition was served before another is left out, too.
        """
        return (
            tuple(self.runs),
            self.ready,
            self._lease_key(self.lease),
            frozenset((call.side, self._is_awaited(call), call.write[:2], call.copy) for call in self.calls),
            frozenset(map(self._lease_call_key, self.late_lease_calls)),
            tuple(map(self._side_key, self.sides)),
            tuple(sorted(self.counts.items())),
            self.saved,
            self.by_hand,
            self.closed,
        )

    def _is_current(self, version: str | None) -> Any:
        """Whether this version of the Lease is what is stored; a restore can bring any back."""
        if self.kind.limits.get("restored", 1):
            return version
        return version == (self.lease.version if self.lease else "")

    def _intent_key(self, intent: Intent | None) -> Any:
        if intent is None:
            return None
        holder = next((side for side in self.sides if side.leadership.claim.identity == intent.holder), None)
        unanswered = holder is not None and intent.sequence in holder.leadership.claim.unanswered
        return holder and self.sides.index(holder), unanswered, intent.pins, intent.complete

    def _lease_key(self, lease: SeenLease | None) -> Any:
        return lease and (self._is_current(lease.version), lease.holder == "", self._intent_key(lease.intent))

    def _lease_call_key(self, call: LeaseCall | None) -> Any:
        return call and (self._is_current(call.base), self._intent_key(call.intent), call.releases)

    def _side_key(self, side: Side) -> tuple[Any, ...]:
        leadership, term = side.leadership, side.leadership.term
        claim = leadership.claim
        return (
            (self._lease_key(claim.base), claim.held, bool(claim.unanswered), claim.left),
            (leadership.proposed, leadership.confirms),
            term and self._term_key(term),
            self._lease_call_key(side.lease_call),
            (side.view, side.early, side.parked, side.sees_ready, side.listed_unready, side.connected),
        )

    def _term_key(self, term: Term) -> tuple[Any, ...]:
        return (
            (
                term.is_listed,
                term.is_confirmed,
                term.intended,
                term.possibly_admitted,
                term.fence_only,
                term.conflicted,
            ),
            (term.suspected, tuple(sorted(term.unfenced.items())), term.predecessor_known, term.failing, term.healthy),
            frozenset(write[:2] for write in term.in_flight),
            frozenset(write[:2] for write in term.slow),
            tuple(sorted(term.served, key=lambda name: term.served[name])),
        )

    # What may happen.

    def actions(self, without: frozenset[str] = frozenset()) -> list[Action]:
        """Every step that may come next, those of these names left out."""
        limits, counts = self.kind.limits, self.counts
        spent = {name for name, limit in limits.items() if counts.get(name, 0) >= limit} | without
        found: list[Action] = []
        for number, side in enumerate(self.sides):
            found += self._actions_of(number, side, spent)
        # Sorted, so that a seed gives the same schedule in every process.
        for call in sorted(self.calls, key=_order_of_call):
            found += self._actions_on(call)
        late = sorted(self.late_lease_calls, key=lambda call: (call.intent.holder, call.intent.sequence))
        found += [("lease write arrives late", call) for call in late]
        for index, run in enumerate(self.runs):
            if run.phase is Phase.ADMITTED:
                found.append(("ends", index))
            elif run.phase is Phase.QUEUED and "started by hand" not in spent:
                found.append(("started by hand", index))
        if "slots change" not in spent:
            found += [("slots change", definition) for definition in sorted(self.kind.slots)]
        found += [("dependency changes",), ("Lease deleted",), ("saved",)]
        if self.saved is not None:
            found.append(("restored",))
        return [action for action in found if action[0] not in spent]

    def _actions_of(self, number: int, side: Side, spent: set[str]) -> list[Action]:
        found: list[Action] = []
        leadership = side.leadership
        if side.lease_call is not None:
            found += [("lease write answered", number), ("lease write lands unanswered", number)]
            found.append(("lease write times out", number))
        elif leadership.term is None:
            found.append(("takes", number))
        else:
            if leadership.term.is_listed or leadership.claim.unanswered:
                found.append(("renews", number))
            found.append(("gives back", number))
        if leadership.term is not None:
            found.append(("clock runs out", number))
            if not leadership.term.is_listed:
                found.append(("lists", number))
            else:
                if side.connected:
                    found.append(("writes", number))
                else:
                    found.append(("lists again", number))
                assert side.view is not None
                found += [
                    ("sees", number, index)
                    for index, run in enumerate(self.runs)
                    if side.connected and side.view[index] != run
                ]
                if "parks" not in spent:
                    found += [("parks", number, index) for index in range(len(self.runs))]
                if side.connected and side.sees_ready != self.ready:
                    found.append(("sees the dependency", number))
        elif not self.rules.lists_after_taking:
            found.append(("lists early", number))
        found.append(("dies", number))
        return found

    def _actions_on(self, call: Call) -> list[Action]:
        if not self._is_awaited(call):
            return [("arrives late", call), ("is lost", call)]
        found: list[Action] = [("answered", call), ("lands unanswered", call), ("times out", call)]
        found += [("refused", call), ("not sent", call)]
        term = self.sides[call.side].leadership.term
        if term is not None and call.write not in term.slow:
            found.append(("takes long", call))
        return found

    def _is_awaited(self, call: Call) -> bool:
        side = self.sides[call.side]
        term = side.leadership.term
        return side.life == call.life and term is not None and call.write in term.in_flight

    # What happens.

    def apply(self, action: Action) -> None:
        """Take a step.

        Raises:
            BrokenPromiseError: a promise does not hold any more.
        """
        name, *about = action
        if name in self.kind.limits:
            self.counts[name] = self.counts.get(name, 0) + 1
        getattr(self, "_" + name.replace(" ", "_").lower())(*about)

    @property
    def slots(self) -> dict[str, int]:
        """How many runs of each definition may be active now."""
        return {name: limit for name, limit in self.kind.slots.items() if name not in self.closed}

    def store_of(self, side: Side) -> RunStore:
        """The product's store of runs with what this side knows."""
        return _store_of(self.kind.runs, side.view or (), side.sees_ready, side.parked)

    # The Lease.

    def _takes(self, number: int) -> None:
        side = self.sides[number]
        leadership = side.leadership.look(self.lease)
        if leadership.term is None:
            leadership, intent = leadership.prepare_take()
            side.lease_call = LeaseCall(self.lease.version if self.lease else "", intent, releases=False)
        side.leadership = leadership

    def _renews(self, number: int) -> None:
        side = self.sides[number]
        if side.leadership.claim.unanswered:  # as the shell does before it writes again
            self._set(side, side.leadership.look(self.lease))
        leadership = side.leadership
        base = leadership.claim.base
        if leadership.term is None or base is None:
            return
        store = self.store_of(side)
        may_choose = side.connected
        leadership, intent = leadership.prepare_renewal(store, self.slots if may_choose else {}, _never)
        if may_choose:
            self._check_choice(side, store, leadership)
        assert leadership.term is not None
        changes = base.intent is None or base.intent[3:] != intent[3:] or leadership.proposed
        if not changes and (leadership.term.is_confirmed or not leadership.confirms):
            side.leadership = side.leadership._replace(term=leadership.term)
            return  # a mere renewal changes nothing
        side.leadership = leadership
        side.lease_call = LeaseCall(base.version, intent, releases=False)

    def _gives_back(self, number: int) -> None:
        side = self.sides[number]
        base = side.leadership.claim.base
        assert base is not None
        side.leadership, intent = side.leadership.prepare_release()
        side.lease_call = LeaseCall(base.version, intent, releases=True)
        side.end_view()

    def _store_lease(self, call: LeaseCall) -> SeenLease | None:
        """Compare and swap; `None`: a conflict."""
        if call.base != (self.lease.version if self.lease else "") and self.rules.compares_lease_versions:
            return None
        self.lease_version += 1
        holder = call.intent.holder
        if call.releases and not call.intent.pins and call.intent.complete:
            holder = ""
        self.lease = SeenLease(str(self.lease_version), holder, 15.0, call.intent.transitions, call.intent)
        return self.lease

    def _lease_write_answered(self, number: int) -> None:
        side = self.sides[number]
        call, side.lease_call = side.lease_call, None
        assert call is not None
        stored = self._store_lease(call)
        if stored is None:
            self._set(side, side.leadership.conflicts())
        elif call.releases:
            side.leadership = side.leadership._replace(claim=side.leadership.claim.look(stored))
        else:
            self._set(side, side.leadership.stored(stored))

    def _lease_write_lands_unanswered(self, number: int) -> None:
        side = self.sides[number]
        call, side.lease_call = side.lease_call, None
        assert call is not None
        self._store_lease(call)
        if not call.releases:
            self._set(side, side.leadership.unsure())

    def _lease_write_times_out(self, number: int) -> None:
        side = self.sides[number]
        call, side.lease_call = side.lease_call, None
        assert call is not None
        self.late_lease_calls |= {call}
        if not call.releases:
            self._set(side, side.leadership.unsure())

    def _lease_write_arrives_late(self, call: LeaseCall) -> None:
        self.late_lease_calls -= {call}
        self._store_lease(call)

    def _set(self, side: Side, leadership: Leadership) -> None:
        if leadership.term is None or side.leadership.term is None:
            side.end_view()
        side.leadership = leadership

    def _clock_runs_out(self, number: int) -> None:
        side = self.sides[number]
        if side.lease_call is not None:
            self._lease_write_times_out(number)
        self._set(side, side.leadership.end_term())

    # The view.

    def _lists_early(self, number: int) -> None:
        self.sides[number].early = (tuple(self.runs), self.ready)

    def _lists(self, number: int) -> None:
        side = self.sides[number]
        assert side.leadership.term is not None
        side.view, side.sees_ready = side.early or (tuple(self.runs), self.ready)
        side.early, side.connected = None, True
        side.listed_unready = not self.ready
        term = side.leadership.term.listed(self.store_of(side))
        side.leadership = side.leadership._replace(term=term)

    def _lists_again(self, number: int) -> None:
        """The list is older than what was known, which ends the term."""
        side = self.sides[number]
        if side.lease_call is not None:
            self._lease_write_times_out(number)
        self._set(side, side.leadership.end_term())

    def _sees(self, number: int, index: int) -> None:
        side = self.sides[number]
        assert side.view is not None
        side.view = (*side.view[:index], self.runs[index], *side.view[index + 1 :])

    def _parks(self, number: int, index: int) -> None:
        side = self.sides[number]
        side.parked ^= {index}

    def _sees_the_dependency(self, number: int) -> None:
        self.sides[number].sees_ready = self.ready

    # Writes of runs.

    def _writes(self, number: int) -> None:
        side = self.sides[number]
        term = side.leadership.term
        assert term is not None
        write = term.next_write(self.store_of(side), self.slots, _never, _always)
        if write is None:
            self._check_idle(side)
            return
        if write.purpose is Purpose.READ:
            self._sees(number, int(write.pin.uid))
            side.leadership = side.leadership._replace(term=term.hand_over(write).succeeded(write))
            return
        self._check_turn(side, write)
        side.leadership = side.leadership._replace(term=term.hand_over(write))
        copies = [call.copy for call in self.calls if call[:3] == (number, side.life, write)]
        self.calls |= {Call(number, side.life, write, max(copies, default=-1) + 1)}

    def _carry_out(self, call: Call) -> bool:
        """Apply a write to its run; `False`: a conflict."""
        index = int(call.write.pin.uid)
        run = self.runs[index]
        if run.version != call.write.pin.version:
            return False
        if call.write.purpose is Purpose.FENCE:
            self.runs[index] = RunState(self._next_version(run), run.phase)
            return True
        assert run.phase is Phase.QUEUED
        self.runs[index] = RunState(self._next_version(run), Phase.ADMITTED)
        self._check_start(call, index)
        return True

    def _next_version(self, run: RunState) -> int:
        return max(run.version, self.epoch * EPOCH) + 1

    def _answered(self, call: Call) -> None:
        done = self._carry_out(call)
        side, term = self._end_of(call)
        if done:
            self._sees(call.side, int(call.write.pin.uid))
            changed = term.succeeded(call.write)
        else:
            changed = term.conflicts(call.write)
        side.leadership = side.leadership._replace(term=changed)

    def _end_of(self, call: Call) -> tuple[Side, Any]:
        self.calls -= {call}
        side = self.sides[call.side]
        assert side.leadership.term is not None
        return side, side.leadership.term

    def _lands_unanswered(self, call: Call) -> None:
        self._carry_out(call)
        side, term = self._end_of(call)
        side.leadership = side.leadership._replace(term=term.unanswered(call.write))

    def _times_out(self, call: Call) -> None:
        side, term = self._end_of(call)
        self.calls |= {call}
        side.leadership = side.leadership._replace(term=term.unanswered(call.write))

    def _refused(self, call: Call) -> None:
        side, term = self._end_of(call)
        side.leadership = side.leadership._replace(term=term.refused(call.write))
        if call.write.pin in term.suspected:  # a rule refuses every write of this run
            for other in sorted(self.calls, key=_order_of_call):
                if other.write.pin == call.write.pin and other in self.calls:
                    (self._refused if self._is_awaited(other) else self._is_lost)(other)

    def _not_sent(self, call: Call) -> None:
        side, term = self._end_of(call)
        side.leadership = side.leadership._replace(term=term.not_sent(call.write))

    def _takes_long(self, call: Call) -> None:
        side = self.sides[call.side]
        assert side.leadership.term is not None
        side.leadership = side.leadership._replace(term=side.leadership.term.mark_slow(call.write))

    def _arrives_late(self, call: Call) -> None:
        self.calls -= {call}
        self._carry_out(call)

    def _is_lost(self, call: Call) -> None:
        self.calls -= {call}

    # The rest of the world.

    def _dies(self, number: int) -> None:
        old = self.sides[number]
        if old.lease_call is not None:
            self.late_lease_calls |= {old.lease_call}
        new = Side(self.rules.leadership(Claim(f"d{number}.{old.life + 1}")))
        new.life = old.life + 1
        self.sides[number] = new

    def _started_by_hand(self, index: int) -> None:
        self.runs[index] = RunState(self._next_version(self.runs[index]), Phase.ADMITTED)
        self.by_hand |= {index}

    def _ends(self, index: int) -> None:
        self.runs[index] = RunState(self._next_version(self.runs[index]), Phase.FINISHED)

    def _dependency_changes(self) -> None:
        self.ready = not self.ready
        if self.ready:
            for side in self.sides:
                side.listed_unready = False

    def _slots_change(self, definition: str) -> None:
        self.closed ^= {definition}

    def _lease_deleted(self) -> None:
        self.lease = None

    def _saved(self) -> None:
        self.saved = (tuple(self.runs), self.ready, self.lease)

    def _restored(self) -> None:
        """Etcd is restored: the API server was stopped meanwhile, so nothing under way arrives, and watches break."""
        assert self.saved is not None
        runs, self.ready, self.lease = self.saved
        self.runs, self.saved = list(runs), None
        self.epoch += 1
        self.lease_version = max(self.lease_version, self.epoch * EPOCH)
        self.late_lease_calls, calls = frozenset(), self.calls
        self.calls = frozenset()
        for call in calls:
            side = self.sides[call.side]
            term = side.leadership.term
            if side.life == call.life and term is not None:
                side.leadership = side.leadership._replace(term=term.unanswered(call.write))
        for side in self.sides:
            side.connected, side.listed_unready = False, False
            if side.lease_call is not None:
                side.lease_call = None
                side.leadership = side.leadership.unsure()

    # The promises.

    def _check_start(self, call: Call, index: int) -> None:
        definition, depends = self.kind.runs[index]
        active = sum(
            run.phase is Phase.ADMITTED and self.kind.runs[other][0] == definition and other not in self.by_hand
            for other, run in enumerate(self.runs)
        )
        if active > self.kind.slots.get(definition, 0):
            raise BrokenPromiseError(f"promise 2: {active} runs of {definition} are active")
        for number, side in enumerate(self.sides):
            term = side.leadership.term
            if term is None or not term.is_listed or not side.connected or not self._leads(side):
                continue
            accounted = (term.landing() | term.intended).union(*term.unfenced.values())
            if call.write.pin not in accounted and number != call.side:
                raise BrokenPromiseError(f"promise 2: run {index} starts, and the leader d{number} does not expect it")
            if depends and side.listed_unready and not self.ready and call.write.pin not in accounted:
                raise BrokenPromiseError(f"promise 3: run {index} starts, and its dependency was never ready since")
        own = self.sides[call.side]
        if depends and not self.ready and own.life == call.life and own.listed_unready and self._leads(own):
            term = own.leadership.term
            if term is not None and term.number == call.write.term:
                raise BrokenPromiseError(f"promise 3: d{call.side} starts run {index}, and knew better")

    def _leads(self, side: Side) -> bool:
        base = side.leadership.claim.base
        return self.lease is not None and base is not None and base.version == self.lease.version

    def _check_choice(self, side: Side, store: RunStore, leadership: Leadership) -> None:
        """Promise 5: a definition with a free slot and nothing under way is in the very next intent.

        Unless the intent is full of runs that can be sent, at most one of each definition that it names anew.
        """
        term = leadership.term
        assert term is not None
        named = Counter(run.definition for run in leadership.proposed)
        busy = {write.definition for write in term.in_flight} | term.unfenced.keys()
        held: Counter[str] = Counter()
        for pin in term.landing() | term.intended:
            if (run := store.get(pin.uid)) is not None:
                busy.add(run.definition)
                held[run.definition] += pin in term.landing() and _live(store, pin) is not None
        sendable = Counter(
            run.definition for pin in term.intended if (run := _live(store, pin)) is not None and store.may_start(run)
        )
        waiting = {
            definition: min(count, max(0, self.slots.get(definition, 0) - store.active(definition) - held[definition]))
            for definition, count in sendable.items()
        }
        for definition in store.startable():
            if definition in busy or definition in named:
                continue
            is_failing = definition in term.failing
            bound = admission_rules.SLOW_WRITERS if is_failing else admission_rules.BATCH
            taken = [name for name in [*waiting, *named] if (name in term.failing) == is_failing]
            is_full = sum(waiting.get(name, 0) + named[name] for name in set(taken)) >= bound
            if is_full and all(named[name] <= 1 for name in taken):
                continue
            if store.active(definition) < self.slots.get(definition, 0):
                raise BrokenPromiseError(f"promise 5: the next intent leaves {definition} out")

    def _check_turn(self, side: Side, write: Write) -> None:
        """Promises 3 and 5, when a write is handed to a writer."""
        index = int(write.pin.uid)
        if write.purpose is Purpose.ADMIT and self.kind.runs[index][1] and not side.sees_ready:
            raise BrokenPromiseError(f"promise 3: run {index} is sent, and its dependency is known as unready")
        if write.purpose is Purpose.ADMIT:
            self._check_slot(side, write)
        side.overtaken.pop(write.definition, None)
        for waiting in self._able_definitions(side) - {write.definition}:
            others = side.overtaken.setdefault(waiting, {})
            others[write.definition] = others.get(write.definition, 0) + 1
            if others[write.definition] > 1:
                raise BrokenPromiseError(f"promise 5: {write.definition} is served twice before {waiting}")

    def _check_slot(self, side: Side, write: Write) -> None:
        """Promise 2: a slot is taken when the write is handed over, and not twice."""
        store, term = self.store_of(side), side.leadership.term
        assert term is not None
        landing = {run.uid for pin in term.landing() | {write.pin} if (run := _live(store, pin)) is not None}
        held = sum(self.kind.runs[int(uid)][0] == write.definition for uid in landing)
        if store.active(write.definition) + held > self.slots.get(write.definition, 0):
            raise BrokenPromiseError(f"promise 2: {write.name} is sent, and no slot is free for it")

    def _check_idle(self, side: Side) -> None:
        """Promise 5: no writer is idle while a definition that is well could use it."""
        if able := self._able_definitions(side):
            raise BrokenPromiseError(f"promise 5: a writer is free, and {sorted(able)} get none")

    def _able_definitions(self, side: Side) -> set[str]:
        """The definitions that are well, have nothing in flight, and have a run in the Lease that could be sent now.

        Empty while all writers are taken; of each definition's writes no more count than it may have.
        """
        term = side.leadership.term
        assert term is not None
        if not term.is_confirmed:
            return set()
        prompt = [write.definition for write in term.in_flight if write not in term.slow]
        fair = sum(min(prompt.count(definition), WRITERS - 1) for definition in set(prompt))
        if fair + max(0, len(term.slow) - admission_rules.SLOW_WRITERS) >= WRITERS:
            return set()
        store, flying = self.store_of(side), {write.definition for write in term.in_flight}
        landing = [run for pin in term.landing() if (run := _live(store, pin)) is not None]
        able = set()
        for pin in term.intended:
            run = _live(store, pin)
            if run is None or not store.may_start(run) or run.definition in flying | term.failing:
                continue
            held = sum(other.definition == run.definition for other in landing)
            if store.active(run.definition) + held < self.slots.get(run.definition, 0):
                able.add(run.definition)
        return able


def _live(store: RunStore, pin: Pin) -> Run | None:
    run = store.get(pin.uid)
    is_live = run is not None and run.resource_version == pin.version and run.phase is Phase.QUEUED
    return run if is_live else None


def _order_of_call(call: Call) -> tuple[Any, ...]:
    return call.side, call.life, call.write.purpose.value, call.write.pin, call.write.term, call.copy


def _never(_definition: str) -> bool:
    return False


def _always(_pin: object) -> bool:
    return True


@lru_cache(maxsize=1 << 15)
def _store_of(
    kinds: tuple[tuple[str, bool], ...], view: tuple[RunState, ...], ready: bool, parked: frozenset[int]
) -> RunStore:
    store = RunStore(ChangeSignal())
    store.set_ready(DEPENDENCY, ready)
    store.replace([_run_of(kinds, index, state) for index, state in enumerate(view)], 1)
    for index in parked:
        store.park(str(index))
    return store


@lru_cache(maxsize=1 << 12)
def _run_of(kinds: tuple[tuple[str, bool], ...], index: int, state: RunState) -> Run:
    definition, depends = kinds[index]
    return Run(
        str(index), f"run-{index}", definition, state.version, index, (DEPENDENCY,) if depends else (), state.phase
    )
