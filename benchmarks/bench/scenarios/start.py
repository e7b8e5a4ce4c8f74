"""How long the service takes from its start until it is ready."""

import time
from collections.abc import Iterator

from benchmarks.bench.report import Row, median
from benchmarks.bench.stage import Stage


def measure(stage: Stage) -> Iterator[Row]:
    """Start and kill one replica, several times."""
    times = []
    with stage.namespace() as namespace:
        for _ in range(stage.sizes.repeats):
            began = time.monotonic()
            with stage.replica(namespace):
                times.append(time.monotonic() - began)
    yield Row(
        "start", "process start to ready", median(times), "s", at_most=2, remark=f"{min(times):.2f} to {max(times):.2f}"
    )
