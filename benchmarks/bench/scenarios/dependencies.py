"""Scenario: the CPU time of a leader with a long queue in which every run waits for a dependency of its own."""

import time
from collections.abc import Callable, Iterator

from benchmarks.bench.cluster import BenchCluster
from benchmarks.bench.processes import family, read_cpu_seconds, read_memory
from benchmarks.bench.report import Row
from benchmarks.bench.standin import StandIn, serve

_EVENTS_PER_SECOND = 30
_SETTLE_SECONDS = 8.0
"""The longest time after the list in which the leader tells the first runs why they wait."""

_LIST_SECONDS = 180.0
_GOAL_CORES = 0.1


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Start a dispatcher on a stand-in for the API server, and measure it without events and with them."""
    count, seconds = cluster.sizes.dependencies, cluster.sizes.dependencies_seconds
    with serve(count) as standin, cluster.dispatcher(standin.url) as dispatcher:
        began = time.monotonic()
        if not standin.watched.wait(_LIST_SECONDS):
            raise TimeoutError(f"{count:,} runs were not listed within {_LIST_SECONDS:.0f} s:\n{dispatcher.log_text}")
        listed_seconds = time.monotonic() - began
        time.sleep(min(_SETTLE_SECONDS, seconds))
        pids = family(dispatcher.pid)

        def cores_during(act: Callable[[], object]) -> float:
            before, since = read_cpu_seconds(pids), time.monotonic()
            act()
            return (read_cpu_seconds(pids) - before) / (time.monotonic() - since)

        idle = cores_during(lambda: time.sleep(seconds / 2))
        busy = cores_during(lambda: _send_events(standin, seconds))
        memory = sum(read_memory(pid).pss_mib for pid in pids)
    at = f"{count:,} queued, each with a dependency of its own"
    remark = f"{idle:.3f} without events; listed in {listed_seconds:.1f} s"
    what = f"{at}, {_EVENTS_PER_SECOND} events/s: CPU of the leader"
    yield Row("dependencies", what, busy, "cores", at_most=_GOAL_CORES, remark=remark)
    yield Row("dependencies", f"{at}: memory of the leader, PSS", memory, "MiB")


def _send_events(standin: StandIn, seconds: float) -> None:
    """Change a run, a run, and the readiness of a dependency, in turn."""
    began = time.monotonic()
    for number in range(int(seconds * _EVENTS_PER_SECOND)):
        time.sleep(max(0.0, began + number / _EVENTS_PER_SECOND - time.monotonic()))
        if number % 3 < 2:
            standin.change_run(7919 * number)  # a prime, so that they are spread over the queue
        else:
            standin.change_dependency(7919 * (number // 6), ready=number % 6 == 2)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
