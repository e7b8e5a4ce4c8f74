"""The scenarios by name; each yields its rows of the table."""

from collections.abc import Callable, Iterable

from benchmarks.bench.cluster import BenchCluster
from benchmarks.bench.report import Row
from benchmarks.bench.scenarios import (
    accepted,
    admitted,
    burst,
    calls,
    dependencies,
    drained,
    handover,
    memory,
    neighbours,
    start,
)

SCENARIOS: dict[str, Callable[[BenchCluster], Iterable[Row]]] = {
    "start": start.measure,
    "calls": calls.measure,
    "accepted": accepted.measure,
    "burst": burst.measure,
    "admitted": admitted.measure,
    "drained": drained.measure,
    "neighbours": neighbours.measure,
    "dependencies": dependencies.measure,
    "memory": memory.measure,
    "handover": handover.measure,
}
"""The scenarios in the order in which they run, small ones first."""
