"""Scenario: many more connections than threads: refused requests, the slowest ones, and the probes meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from benchmarks.bench.cluster import BenchCluster, wait_leading
from benchmarks.bench.load import Outcome
from benchmarks.bench.report import Row, milliseconds, percentile
from tests.support.service import ServiceProcess

_SECONDS = 120.0
_PROBE_TIMEOUT_SECONDS = 8.0
"""The probes' timeout in k8s/."""

_P99_RATIO = 3.0


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Send the burst directly to the API server, then to the service."""
    connections, most = cluster.sizes.burst
    how = {"connections": connections, "seconds": _SECONDS, "most": most}
    with cluster.namespace() as namespace, cluster.namespace() as other, cluster.replica(namespace) as service:
        wait_leading(service)
        cluster.call_service(service, "crowd", connections=4, seconds=1.0)  # the first requests open connections
        direct = cluster.call_directly(other, "crowd", **how)
        with _probing(service) as probes:
            ours = cluster.call_service(service, "crowd", **how)
    at = f"{most:,} POSTs over {connections} connections"
    yield Row("burst", f"{at}: not accepted", sum(ours.others.values()), at_most=0, remark=_describe(ours))
    mine, theirs = _p99(ours), _p99(direct)
    ratio = mine / theirs if mine is not None and theirs else None
    remark = f"p99 {milliseconds(mine):.0f} ms against {milliseconds(theirs):.0f} ms" if ratio is not None else ""
    yield Row("burst", f"{at}: p99 to p99 of direct creates", ratio, at_most=_P99_RATIO, remark=remark)
    slowest = max(probes, default=None)
    yield Row(
        "burst", "slowest probe meanwhile", slowest, "s", at_most=_PROBE_TIMEOUT_SECONDS, remark=f"of {len(probes)}"
    )


def _p99(outcome: Outcome) -> float | None:
    return percentile(outcome.latencies_seconds, 99)


def _describe(outcome: Outcome) -> str:
    refused = ", ".join(f"{what}: {count}" for what, count in outcome.others.items())
    return f"{outcome.per_second:.0f} /s accepted" + (f"; {refused}" if refused else "")


@contextmanager
def _probing(service: ServiceProcess) -> Iterator[list[float]]:
    """Keep probing `/health` over new connections; yield the durations in seconds, infinite for failures."""
    took: list[float] = []
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(0.1):
            began = time.monotonic()
            try:
                answered = requests.get(f"{service.url}/health", timeout=2 * _PROBE_TIMEOUT_SECONDS).status_code == 200
            except requests.RequestException:
                answered = False
            took.append(time.monotonic() - began if answered else float("inf"))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()
