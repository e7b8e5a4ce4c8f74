"""Scenario: the time from the 202 to the admission with free slots, at several queue lengths."""

import time
from collections.abc import Iterator

from benchmarks.bench.cluster import BenchCluster, Caller, wait_leading
from benchmarks.bench.report import Row, milliseconds, percentile
from benchmarks.bench.watcher import watch
from tests.support.service import ServiceProcess

_PAUSE_SECONDS = 0.05
_WAIT_SECONDS = 60.0


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Time admissions while more and more other runs are queued."""
    with cluster.namespace() as namespace, cluster.replica(namespace) as service:
        wait_leading(service)
        time_admissions(cluster, service, namespace, 1)  # the first run opens connections
        queued = 0
        for length in cluster.sizes.queues:
            cluster.fill(namespace, length - queued)
            queued = length
            yield from _rows(length, *time_admissions(cluster, service, namespace, cluster.sizes.admissions))


def time_admissions(
    cluster: BenchCluster, service: ServiceProcess, namespace: str, count: int
) -> tuple[list[float], int]:
    """Return the seconds from each 202 to the event of the admission, and the number of runs without that event.

    The event may arrive before the 202; that counts as 0 seconds.
    """
    accepted: dict[str, float] = {}
    caller = Caller(service)
    with watch(cluster.server, namespace, "free") as watcher:
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


def _rows(length: int, waits: list[float], missing: int) -> Iterator[Row]:
    at = f"{length:,} queued" if length else "slots free"
    remark = f"{len(waits)} runs" + (f", {missing} never admitted" if missing else "")
    p50, p99 = (milliseconds(percentile(waits, percent)) for percent in (50, 99))
    yield Row("admitted", f"{at}: 202 to admitted, p50", p50, "ms", at_most=None if length else 50, remark=remark)
    yield Row("admitted", f"{at}: 202 to admitted, p99", p99, "ms", at_most=250)
