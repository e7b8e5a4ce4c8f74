"""What is measured: name -> how; each gives the rows of the table that it is responsible for."""

from collections.abc import Callable, Iterable

from benchmarks.bench.report import Row
from benchmarks.bench.scenarios import accepted, admitted, burst, calls, handover, memory, start
from benchmarks.bench.stage import Stage

SCENARIOS: dict[str, Callable[[Stage], Iterable[Row]]] = {
    "start": start.measure,
    "calls": calls.measure,
    "accepted": accepted.measure,
    "burst": burst.measure,
    "admitted": admitted.measure,
    "memory": memory.measure,
    "handover": handover.measure,
}
"""In the order in which they are run: what is small first."""
