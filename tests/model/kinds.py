"""The worlds that are explored."""

from __future__ import annotations

from tests.model.explore import FAULTS
from tests.model.world import Kind

_FAULTS = dict.fromkeys(FAULTS, 3) | {"takes": 9, "takes long": 9, "Lease deleted": 1, "saved": 1, "restored": 1}
_FAULTS |= {"started by hand": 1, "parks": 6, "arrives late": 9, "lease write arrives late": 9}

DRAWN = (
    Kind(runs=(("a", True), ("a", False), ("a", False)), slots={"a": 1}, limits=_FAULTS),
    Kind(runs=(("a", False), ("a", True), ("a", False)), slots={"a": 2}, limits=_FAULTS),
    Kind(runs=(("a", True), ("a", False), ("b", False), ("b", False)), slots={"a": 1, "b": 1}, limits=_FAULTS),
    Kind(
        runs=(*[("a", False)] * 5, ("a", True), *[("b", False)] * 5, ("b", True), ("c", False), ("d", False)),
        slots={"a": 4, "b": 4, "c": 1, "d": 1},
        limits=_FAULTS,
    ),
    Kind(
        runs=(("a", False), ("a", True), ("a", False), ("b", False), ("b", True), ("c", False)),
        slots={"a": 2, "b": 1, "c": 2},
        limits=_FAULTS,
        dispatchers=3,
        ready=False,
    ),
)
"""Of these a schedule's seed chooses one."""
