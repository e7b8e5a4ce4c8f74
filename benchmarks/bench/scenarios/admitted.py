"""How long a run waits for its admission though a slot is free, and whether a long queue makes that longer."""

import time
from collections.abc import Iterator

from benchmarks.bench.report import Row, milliseconds, percentile
from benchmarks.bench.stage import Caller, Stage, wait_leading
from benchmarks.bench.watcher import watch
from tests.support.service import ServiceProcess

_PAUSE_SECONDS = 0.05
_WAIT_SECONDS = 60.0


def measure(stage: Stage) -> Iterator[Row]:
    """Time admissions with more and more other runs queued."""
    with stage.namespace() as namespace, stage.replica(namespace) as service:
        wait_leading(service)
        _time(stage, service, namespace, 1)  # the first one opens connections
        queued = 0
        for length in stage.sizes.queues:
            stage.fill(namespace, length - queued)
            queued = length
            yield from _tell(length, *_time(stage, service, namespace, stage.sizes.admissions))


def _time(stage: Stage, service: ServiceProcess, namespace: str, count: int) -> tuple[list[float], int]:
    """Seconds from each 202 to the event that shows the admission; and how many were never seen admitted.

    An admission may be seen before the 202 has arrived; then nobody has waited: 0.
    """
    accepted: dict[str, float] = {}
    caller = Caller(service)
    with watch(stage.server, namespace, "free") as watcher:
        for _ in range(count):
            name, arrived = caller.start("free")
            accepted[name] = arrived
            time.sleep(_PAUSE_SECONDS)
        watcher.wait_for(set(accepted), seconds=_WAIT_SECONDS)
    caller.close()
    if watcher.failure is not None:
        raise watcher.failure
    seen = [max(0.0, watcher.admitted[name] - at) for name, at in accepted.items() if name in watcher.admitted]
    return seen, count - len(seen)


def _tell(length: int, waits: list[float], missing: int) -> Iterator[Row]:
    at = f"{length:,} queued" if length else "slots free"
    remark = f"{len(waits)} runs" + (f", {missing} never admitted" if missing else "")
    p50, p99 = (milliseconds(percentile(waits, percent)) for percent in (50, 99))
    yield Row("admitted", f"{at}: 202 to admitted, p50", p50, "ms", at_most=None if length else 50, remark=remark)
    yield Row("admitted", f"{at}: 202 to admitted, p99", p99, "ms", at_most=250)
