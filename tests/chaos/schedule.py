"""The calls and faults of a run, with their times: a pure function of a seed and a size."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.kinds import HANDOVERS, KILLS, LEASE_EDITS, LINKS, Kind

SLOTS = {"one": 1, "two": 2, "six": 6, "gated": 6, "flapping": 4, "mixed": 1}
"""NumberParallelJob by definition. Each run of `gated` depends on one gate, each run of `flapping` on `FLAPPING`, and
every other run of `mixed` on `SWITCHED`."""

_SHARES = {"one": 1, "two": 2, "six": 6, "gated": 6, "flapping": 2, "mixed": 2}
"""How often each definition is called, in proportion to its slots' throughput."""

FLAPPING = "flapping"
"""A Deployment that becomes unready and ready again several times."""

SWITCHED = "switched"
"""A Deployment that is unready while a leader is paused after an intent. Its runs of `mixed` are then passed over, so
that the next leader would give the slots of the paused one to others, if it did not know what that one has sent."""


@dataclass(frozen=True)
class Size:
    """The size of a schedule.

    Attributes:
        runs: the number of runs to be accepted.
        seconds: the time over which calls and faults are spread; the suite ends when all runs have ended.
        kills: the number of kill -9 of the service's processes.
        handovers: the number of Lease handovers, in turn by pausing the leader between an intent and its patches, by
            stopping a replica cleanly, and by pausing the leader at any moment.
        links: the number of network faults: one or all connections of a process, cut or half-open.
        silent_watch_seconds: the duration of the fault that makes a process's watches half-open.
        restarts: the number of API server restarts.
        pauses: the number of etcd pauses.
        pause_seconds: the duration of an etcd pause.
        restores: the number of etcd restores.
        hangs: the number of times that all admissions of a definition hang.
        lease_edits: the number of edits of the Lease by hand.
        gates: the number of dependencies that become ready for the first time.
        unready_periods: when `FLAPPING` is unready: start and end as shares of `seconds`.
        workers: the number of workers of each replica.
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
    restores: int
    hangs: int
    lease_edits: int
    gates: int
    unready_periods: tuple[tuple[float, float], ...]
    workers: int = 4

    @property
    def short(self) -> bool:
        """Whether this is the short form, which `make e2e` runs."""
        return self == SHORT


FULL = Size(
    runs=1000,
    seconds=600.0,
    kills=20,
    handovers=6,
    links=20,
    silent_watch_seconds=70.0,  # longer than the dispatcher's limit of 60 s
    restarts=4,
    pauses=1,
    pause_seconds=10.0,
    restores=2,
    hangs=4,
    lease_edits=10,
    gates=8,
    unready_periods=((0.1, 0.4), (0.5, 0.8)),
)

SHORT = Size(
    runs=80,
    seconds=85.0,
    kills=4,
    handovers=2,
    links=10,
    silent_watch_seconds=10.0,
    restarts=1,
    pauses=1,
    pause_seconds=5.0,
    restores=1,
    hangs=1,
    lease_edits=5,
    gates=3,
    unready_periods=((0.2, 0.7),),
)


@dataclass(frozen=True)
class PlannedFault:
    """One fault of a schedule.

    Attributes:
        at_seconds: seconds since the start.
        pick: in [0, 1): selects one of the possible targets.
        lasts_seconds: the duration; 0 for a fault without one.
    """

    at_seconds: float
    kind: Kind
    pick: float
    lasts_seconds: float = 0.0


@dataclass(frozen=True)
class Call:
    """One call that starts a run.

    Attributes:
        at_seconds: the earliest time, in seconds since the start.
        mark: a unique mark, set in the environment of the run.
        depends_on: the run's dependencies.
        keyed: whether the mark is also sent as Idempotency-Key, so that the call can be repeated after any failure.
        twice: whether it is made twice at the same time; only for keyed calls.
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
    """All calls and faults of a run.

    Attributes:
        faults: the faults in the order of their times.
        calls: the calls in the order of their times.
        clock_seconds: the shift of the second replica's clock.
    """

    seed: int
    size: Size
    faults: tuple[PlannedFault, ...]
    calls: tuple[Call, ...]
    clock_seconds: int


def gate_name(number: int) -> str:
    """Return the name of a gate's Deployment."""
    return f"gate-{number}"


def make_schedule(seed: int, size: Size) -> Schedule:
    """Draw a schedule; the same seed and size give the same schedule."""
    chance = random.Random(seed)
    clock_seconds = chance.choice((-1, 1)) * chance.randrange(120, 600)
    faults = [
        *_kills(chance, size),
        *_handovers(chance, size),
        *_links(chance, size),
        *_outages(chance, size),
        *_hangs(chance, size),
        *_lease_edits(chance, size),
        *_readiness_changes(chance, size),
    ]
    faults.sort(key=lambda fault: fault.at_seconds)
    calls = sorted(_calls(chance, size), key=lambda call: call.at_seconds)
    return Schedule(seed, size, tuple(faults), tuple(calls), clock_seconds)


def _moments(chance: random.Random, size: Size, count: int) -> list[float]:
    """Return random times, one in each equal part of the duration; calls continue after the last one."""
    first, last = 0.05 * size.seconds, 0.85 * size.seconds
    part = (last - first) / max(1, count)
    return [first + part * (number + chance.random()) for number in range(count)]


def _shuffled(chance: random.Random, kinds: tuple[Kind, ...], count: int) -> list[Kind]:
    """Return `count` kinds in random order; the numbers of each kind differ by one at most."""
    chosen = [*kinds * (count // len(kinds)), *chance.sample(kinds, count % len(kinds))]
    chance.shuffle(chosen)
    return chosen


def _kills(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    kinds = _shuffled(chance, KILLS, size.kills)
    for at_seconds, kind in zip(_moments(chance, size, size.kills), kinds, strict=True):
        yield PlannedFault(at_seconds, kind, chance.random())


def _handovers(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    for number, at_seconds in enumerate(_moments(chance, size, size.handovers)):
        kind = HANDOVERS[number % len(HANDOVERS)]
        lasts_seconds = 0.0
        if kind is Kind.FREEZE_LEADER:
            lasts_seconds = chance.uniform(16.0, 22.0)
        elif kind is Kind.FREEZE_INTENT:
            lasts_seconds = chance.uniform(1.0, 5.0)  # after another one leads
        yield PlannedFault(at_seconds, kind, chance.random(), lasts_seconds)


def _links(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    kinds = _shuffled(chance, LINKS, size.links)
    room = min(16.0, size.seconds / max(1, size.links))
    silent = kinds.index(Kind.SILENT_WATCHES) if Kind.SILENT_WATCHES in kinds else None
    for index, (at_seconds, kind) in enumerate(zip(_moments(chance, size, size.links), kinds, strict=True)):
        # Some last longer than a lease: the requests they hold back arrive under another leader.
        lasts_seconds = chance.uniform(0.1, 1.6) * room if "SILENT" in kind.name else 0.0
        if index == silent:
            lasts_seconds = size.silent_watch_seconds
        yield PlannedFault(at_seconds, kind, chance.random(), lasts_seconds)


def _outages(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    kinds = _shuffled(chance, (Kind.KILL_API_SERVER, Kind.STOP_API_SERVER), size.restarts)
    kinds += [Kind.PAUSE_ETCD] * size.pauses + [Kind.RESTORE_ETCD] * size.restores
    chance.shuffle(kinds)
    for at_seconds, kind in zip(_moments(chance, size, len(kinds)), kinds, strict=True):
        lasts_seconds = size.pause_seconds if kind is Kind.PAUSE_ETCD else chance.uniform(0.0, 4.0)
        if kind is Kind.RESTORE_ETCD:
            lasts_seconds = chance.uniform(4.0, 10.0)  # the age of the snapshot, at least
        yield PlannedFault(at_seconds, kind, chance.random(), lasts_seconds)


def _hangs(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    for at_seconds in _moments(chance, size, size.hangs):
        # A writer gives up after 5 s, and a lease ends after 15 s.
        yield PlannedFault(at_seconds, Kind.HANG_ADMISSIONS, chance.random(), chance.uniform(6.0, 20.0))


def _lease_edits(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    kinds = _shuffled(chance, LEASE_EDITS, size.lease_edits)
    for at_seconds, kind in zip(_moments(chance, size, size.lease_edits), kinds, strict=True):
        yield PlannedFault(at_seconds, kind, chance.random())


def _readiness_changes(chance: random.Random, size: Size) -> Iterator[PlannedFault]:
    for number, at_seconds in enumerate(_moments(chance, size, size.gates)):
        yield PlannedFault(at_seconds, Kind.BECOME_READY, number / size.gates)
    for begin, end in size.unready_periods:
        yield PlannedFault(begin * size.seconds, Kind.BECOME_UNREADY, 0.0)
        yield PlannedFault(end * size.seconds, Kind.BECOME_READY_AGAIN, 0.0)


def _calls(chance: random.Random, size: Size) -> Iterator[Call]:
    cycle = [name for name, share in _SHARES.items() for _ in range(share)]
    for number in range(size.runs):
        definition = cycle[number % len(cycle)]
        depends_on: tuple[str, ...] = ()
        if definition == "gated":
            depends_on = (gate_name(chance.randrange(size.gates)),)
        elif definition == "flapping":
            depends_on = (FLAPPING,)
        elif definition == "mixed" and number % 2:
            depends_on = (SWITCHED,)
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
