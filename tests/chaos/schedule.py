"""What happens in one run of the chaos suite, and when: a pure function of a seed and a size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.kinds import HANDOVERS, KILLS, LINKS, Kind

SLOTS = {"one": 1, "two": 2, "six": 6, "gated": 6, "tidal": 4}
"""By definition: its NumberParallelJob. Runs of `gated` depend on a gate each, those of `tidal` on the tide."""

_SHARES = {"one": 1, "two": 2, "six": 6, "gated": 6, "tidal": 2}
"""How often each definition is called, in proportion to what its slots can carry out in the same time."""

TIDE = "tide"
"""A Deployment that becomes ready and unready again several times."""


@dataclass(frozen=True)
class Size:
    """How much of it.

    Attributes:
        runs: that are to be accepted.
        seconds: over which calls and faults are spread; the end comes when all runs have ended.
        kills: kill -9 of processes of ours.
        handovers: of the Lease, by a leader that stands still and by one that is stopped in good order, in turn.
        links: connections, or all connections of a process, that are cut or fall silent.
        silent_watch_seconds: how long the watches of a process are half-open, once.
        restarts: of the API server.
        pauses: of etcd.
        pause_seconds: how long etcd stands still.
        gates: dependencies that become ready for the first time.
        ebbs: as shares of `seconds`, from when until when the tide is unready.
        workers: of each replica.
    """

    runs: int
    seconds: float
    kills: int
    handovers: int
    links: int
    silent_watch_seconds: float
    restarts: int
    pauses: int
    pause_seconds: float
    gates: int
    ebbs: tuple[tuple[float, float], ...]
    workers: int = 4

    @property
    def short(self) -> bool:
        """Whether it is the form that CI runs."""
        return self == SHORT


FULL = Size(
    runs=1000,
    seconds=330.0,
    kills=20,
    handovers=4,
    links=20,
    silent_watch_seconds=70.0,  # the dispatcher finds out by itself
    restarts=4,
    pauses=1,
    pause_seconds=10.0,
    gates=8,
    ebbs=((0.1, 0.4), (0.5, 0.8)),
)

SHORT = Size(
    runs=80,
    seconds=55.0,
    kills=4,
    handovers=1,
    links=10,
    silent_watch_seconds=10.0,
    restarts=1,
    pauses=1,
    pause_seconds=5.0,
    gates=3,
    ebbs=((0.2, 0.7),),
)


@dataclass(frozen=True)
class Stroke:
    """One fault.

    Attributes:
        at_seconds: since the beginning.
        pick: from 0 up to 1: which of those that can be struck.
        lasts_seconds: until it is undone; 0 where there is nothing to undo.
    """

    at_seconds: float
    kind: Kind
    pick: float
    lasts_seconds: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call that is to start a run.

    Attributes:
        at_seconds: since the beginning; no earlier.
        mark: its own, in the environment of the run that it starts.
        depends_on: what the run waits for.
        keyed: it carries its mark as Idempotency-Key too, and so is repeated until it is answered.
        twice: it is made twice at the same time; only where it is keyed.
        runs_for_ms: how long the run's container runs.
    """

    at_seconds: float
    mark: str
    definition: str
    depends_on: tuple[str, ...]
    keyed: bool
    twice: bool
    runs_for_ms: int


@dataclass(frozen=True)
class Schedule:
    """All that is to happen.

    Attributes:
        strokes: in the order of their times.
        calls: likewise.
        clock_seconds: how far the second replica's clock is off.
    """

    seed: int
    size: Size
    strokes: tuple[Stroke, ...]
    calls: tuple[Call, ...]
    clock_seconds: int


def limiter(number: int) -> str:
    """The name of a gate's Deployment."""
    return f"gate-{number}"


def make_schedule(seed: int, size: Size) -> Schedule:
    """Draw a schedule; the same one for the same seed and size."""
    chance = random.Random(seed)
    clock_seconds = chance.choice((-1, 1)) * chance.randrange(120, 600)
    strokes = [
        *_kills(chance, size),
        *_handovers(chance, size),
        *_links(chance, size),
        *_outages(chance, size),
        *_turns(chance, size),
    ]
    strokes.sort(key=lambda stroke: stroke.at_seconds)
    calls = sorted(_calls(chance, size), key=lambda call: call.at_seconds)
    return Schedule(seed, size, tuple(strokes), tuple(calls), clock_seconds)


def _moments(chance: random.Random, size: Size, count: int) -> list[float]:
    """Spread over the time, each at random within its own part of it; calls go on after the last one."""
    first, last = 0.05 * size.seconds, 0.85 * size.seconds
    part = (last - first) / max(1, count)
    return [first + part * (number + chance.random()) for number in range(count)]


def _shuffled(chance: random.Random, kinds: tuple[Kind, ...], count: int) -> list[Kind]:
    """So many kinds, each as often as the others but for one."""
    chosen = [*kinds * (count // len(kinds)), *chance.sample(kinds, count % len(kinds))]
    chance.shuffle(chosen)
    return chosen


def _kills(chance: random.Random, size: Size) -> Iterator[Stroke]:
    kinds = _shuffled(chance, KILLS, size.kills)
    for at_seconds, kind in zip(_moments(chance, size, size.kills), kinds, strict=True):
        yield Stroke(at_seconds, kind, chance.random())


def _handovers(chance: random.Random, size: Size) -> Iterator[Stroke]:
    for number, at_seconds in enumerate(_moments(chance, size, size.handovers)):
        kind = HANDOVERS[number % len(HANDOVERS)]
        lasts_seconds = chance.uniform(16.0, 22.0) if kind is Kind.FREEZE_LEADER else 0.0
        yield Stroke(at_seconds, kind, chance.random(), lasts_seconds)


def _links(chance: random.Random, size: Size) -> Iterator[Stroke]:
    kinds = _shuffled(chance, LINKS, size.links)
    room = size.seconds / max(1, size.links)
    silent = kinds.index(Kind.SILENT_WATCHES) if Kind.SILENT_WATCHES in kinds else None
    for place, (at_seconds, kind) in enumerate(zip(_moments(chance, size, size.links), kinds, strict=True)):
        # Some for longer than a lease: what they keep back arrives when somebody else leads.
        lasts_seconds = chance.uniform(0.1, 1.6) * room if "SILENT" in kind.name else 0.0
        if place == silent:
            lasts_seconds = size.silent_watch_seconds
        yield Stroke(at_seconds, kind, chance.random(), lasts_seconds)


def _outages(chance: random.Random, size: Size) -> Iterator[Stroke]:
    kinds = _shuffled(chance, (Kind.KILL_API_SERVER, Kind.STOP_API_SERVER), size.restarts)
    kinds += [Kind.PAUSE_ETCD] * size.pauses
    chance.shuffle(kinds)
    for at_seconds, kind in zip(_moments(chance, size, len(kinds)), kinds, strict=True):
        lasts_seconds = size.pause_seconds if kind is Kind.PAUSE_ETCD else chance.uniform(0.0, 4.0)
        yield Stroke(at_seconds, kind, chance.random(), lasts_seconds)


def _turns(chance: random.Random, size: Size) -> Iterator[Stroke]:
    for number, at_seconds in enumerate(_moments(chance, size, size.gates)):
        yield Stroke(at_seconds, Kind.OPEN_GATE, number / size.gates)
    for begin, end in size.ebbs:
        yield Stroke(begin * size.seconds, Kind.EBB, 0.0)
        yield Stroke(end * size.seconds, Kind.FLOOD, 0.0)


def _calls(chance: random.Random, size: Size) -> Iterator[Call]:
    turns = [name for name, share in _SHARES.items() for _ in range(share)]
    for number in range(size.runs):
        definition = turns[number % len(turns)]
        depends_on: tuple[str, ...] = ()
        if definition == "gated":
            depends_on = (limiter(chance.randrange(size.gates)),)
        elif definition == "tidal":
            depends_on = (TIDE,)
        keyed = chance.random() < 0.6
        yield Call(
            at_seconds=chance.uniform(0.0, size.seconds),
            mark=f"call-{number}",
            definition=definition,
            depends_on=depends_on,
            keyed=keyed,
            twice=keyed and chance.random() < 0.2,
            runs_for_ms=chance.randrange(100, 1500),
        )
