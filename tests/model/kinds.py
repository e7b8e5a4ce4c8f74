"""The worlds that are explored."""

from __future__ import annotations

from dataclasses import replace

from tests.model.explore import FAULTS
from tests.model.world import Kind

_FAULTS = dict.fromkeys(FAULTS, 3) | {"takes": 9, "takes long": 9, "Lease deleted": 1, "saved": 1, "restored": 1}
_FAULTS |= {"started by hand": 1, "parks": 6, "arrives late": 9, "lease write arrives late": 9, "slots change": 0}

DRAWN = (
    Kind(runs=(("a", True), ("a", False), ("a", False)), slots={"a": 1}, limits=_FAULTS),
    Kind(runs=(("a", False), ("a", True), ("a", False)), slots={"a": 2}, limits=_FAULTS, fresh=False),
    Kind(runs=(("a", True), ("a", False), ("b", False), ("b", False)), slots={"a": 1, "b": 1}, limits=_FAULTS),
    Kind(
        runs=(*[("a", False)] * 5, ("a", True), *[("b", False)] * 5, ("b", True), ("c", False), ("d", False)),
        slots={"a": 4, "b": 4, "c": 1, "d": 1},
        limits=_FAULTS,
        fresh=False,
    ),
    Kind(
        runs=(("a", False), ("a", True), ("a", False), ("b", False), ("b", True), ("c", False)),
        slots={"a": 2, "b": 1, "c": 2},
        limits=_FAULTS,
        dispatchers=3,
        ready=False,
    ),
    Kind(runs=(("a", True), ("a", False)), slots={"a": 1}, limits=_FAULTS, fresh=False),
    Kind(
        runs=(("a", False), ("a", False)),
        slots={"a": 1},
        # The third dispatcher has not seen the Lease before the restore, so it trusts the restored one.
        limits=dict.fromkeys(FAULTS, 0) | {"takes": 3, "saved": 1, "restored": 1},
        dispatchers=3,
        fresh=False,
    ),
    Kind(
        runs=(("a", True), ("a", False)),
        slots={"a": 1},
        limits=dict.fromkeys(FAULTS, 0)
        | {"takes": 2, "times out": 3, "arrives late": 9, "dependency changes": 3, "parks": 4, "refused": 2},
        fresh=False,
    ),
    Kind(
        runs=(("a", True), ("a", False)),
        slots={"a": 1},
        limits=dict.fromkeys(FAULTS, 0)
        | {"takes": 4, "Lease deleted": 1, "clock runs out": 2, "arrives late": 9, "dependency changes": 1},
        fresh=False,
    ),
    Kind(
        runs=(*[("a", False)] * 3, ("b", False), ("b", True), ("c", False), ("d", False), ("e", False)),
        slots={"a": 3, "b": 2, "c": 1, "d": 1, "e": 1},
        limits=_FAULTS | {"slots change": 6},
        fresh=False,
        bounds={"BATCH": 2, "REFILL": 1, "SLOW_WRITERS": 1},
    ),
    Kind(
        runs=(("a", True), ("a", True), ("a", False), ("a", False)),
        slots={"a": 1},
        limits=dict.fromkeys(FAULTS, 0)
        | {"takes": 6, "Lease deleted": 2, "dies": 1, "times out": 2, "arrives late": 9},
        dispatchers=3,
        ready=False,
        fresh=False,
        bounds={"SUSPECTED_PER_GROUP": 1, "FENCED_AT_ONCE": 1},
    ),
    Kind(
        runs=(*[("a", False)] * 3, *[("b", False)] * 3, ("c", False), ("d", False), ("e", False)),
        slots={"a": 3, "b": 3, "c": 1, "d": 1, "e": 1},
        limits=dict.fromkeys(FAULTS, 0) | {"takes": 1, "takes long": 9, "times out": 3, "refused": 2},
        dispatchers=1,
        fresh=False,
        bounds={"PROMPT_WRITERS": 3, "SLOW_WRITERS": 1},
    ),
    Kind(
        runs=(("a", False), ("a", True), ("a", False), ("b", True), ("b", False)),
        slots={"a": 1, "b": 2},
        limits=_FAULTS | {"time passes": 1},
        fresh=False,
        queue_timeouts=True,
    ),
    Kind(
        runs=(("a", False), ("a", True), ("a", False), ("b", True), ("b", False)),
        slots={"a": 2, "b": 1},
        limits=_FAULTS | {"time passes": 3},
        fresh=False,
        queue_timeouts=True,
        start_deadlines=True,
    ),
    Kind(
        runs=(*[("a", False)] * 5, ("b", False), ("b", False)),
        slots={"a": 5, "b": 2},
        limits=_FAULTS | {"slots change": 6},
        fresh=False,
        bounds={"BATCH": 2, "REFILL": 1, "SLOW_WRITERS": 1},
    ),
)
"""Of these a schedule's seed chooses one."""


def _small(
    runs: tuple[tuple[str, bool], ...], slots: int, *, fresh: bool = False, dispatchers: int = 2, **limits: int
) -> Kind:
    """A world of one definition in which only the named faults happen, each so many times."""
    named = {name.replace("_", " "): limit for name, limit in limits.items()}
    named = {"Lease deleted" if name == "lease deleted" else name: limit for name, limit in named.items()}
    every = dict.fromkeys(FAULTS, 0) | {"takes": 2, "ends": 0} | named
    return Kind(runs=runs, slots={"a": slots}, limits=every, fresh=fresh, dispatchers=dispatchers)


_TWO = (("a", True), ("a", False))
_THREE = (("a", True), ("a", False), ("a", False))

EXHAUSTIVE = {
    "one leader, late and refused writes": _small(
        _TWO, 1, dispatchers=1, takes=1, times_out=2, arrives_late=9, refused=1, dependency_changes=1
    ),
    "one leader, lost answers": _small(
        _TWO, 1, dispatchers=1, takes=1, lands_unanswered=2, not_sent=1, dependency_changes=2, ends=1
    ),
    "a late answer, a run that ends": _small((("a", False),) * 2, 1, times_out=1, arrives_late=9, ends=1),
    "a late write, a dependency that goes": _small(_TWO, 1, times_out=1, arrives_late=9, dependency_changes=1),
    "a crash": _small(_TWO, 1, dies=1, arrives_late=9, dependency_changes=1),
    "a term that ends by its own clock": _small(_TWO, 1, clock_runs_out=1, arrives_late=9, dependency_changes=1),
    "an answer of the Lease that is lost": _small(
        _TWO, 1, lease_write_lands_unanswered=1, arrives_late=9, dependency_changes=1
    ),
    "a write of the Lease that arrives late": _small(_TWO, 1, lease_write_times_out=1, lease_write_arrives_late=9),
    "a Lease that is given back": _small(_TWO, 1, gives_back=1, arrives_late=9, dependency_changes=1),
    "a Lease that is deleted": _small(_TWO, 1, lease_deleted=1, arrives_late=9),
    "three leaders, a Lease that is deleted": _small(
        (("a", False),), 1, dispatchers=3, takes=3, renews=2, lease_deleted=1
    ),
    "a first start": _small(_TWO, 1, fresh=True, arrives_late=9, dependency_changes=1),
    "a restore": _small(_TWO, 1, saved=1, restored=1),
    "one leader, a restore, a run that ends": _small(_TWO, 1, dispatchers=1, takes=1, saved=1, restored=1, ends=1),
    "three runs, two slots": _small(_THREE, 2, dependency_changes=1),
    "a time in the queue that ends": replace(
        _small(_TWO, 1, dispatchers=1, takes=1, times_out=1, arrives_late=9, dependency_changes=1, time_passes=1),
        queue_timeouts=True,
    ),
    "a time in the queue that ends, two leaders": replace(
        _small((("a", False),) * 2, 1, arrives_late=9, time_passes=1), queue_timeouts=True
    ),
    "a start that takes too long": replace(
        _small((("a", False),) * 2, 1, dispatchers=1, takes=1, ends=1, time_passes=2), start_deadlines=True
    ),
    "a start that takes too long, two leaders": replace(
        _small((("a", False),), 1, time_passes=2), start_deadlines=True
    ),
}
"""Worlds of which every schedule is explored, to its end."""
