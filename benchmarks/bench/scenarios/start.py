"""Scenario: the time from the start of the service until it is ready."""

import time
from collections.abc import Iterator

from benchmarks.bench.cluster import BenchCluster
from benchmarks.bench.report import Row, median


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Start and kill one replica, several times."""
    times = []
    with cluster.namespace() as namespace:
        for _ in range(cluster.sizes.repeats):
            began = time.monotonic()
            with cluster.replica(namespace):
                times.append(time.monotonic() - began)
    yield Row(
        "start", "process start to ready", median(times), "s", at_most=2, remark=f"{min(times):.2f} to {max(times):.2f}"
    )
