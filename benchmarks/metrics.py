"""Measure the cost of metrics: the time of an update, and the memory of all series that callers can create.

    python -m benchmarks.metrics

Set `PROMETHEUS_MULTIPROC_DIR` to an empty folder to measure as with several gunicorn workers.
"""

import time
from collections.abc import Callable
from pathlib import Path

from app.kube.api_call_metrics import ApiCall
from app.telemetry import metrics
from app.telemetry.exposition import write_metrics
from app.telemetry.spans import request_span

DEFINITIONS = [f"definition-{number}" for number in range(100)]
OUTCOMES = 20
"""About as many as a caller can cause."""

ROUNDS = 50_000


def own_memory_kib() -> int:
    """Return this process's anonymous memory in KiB."""
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))


def measure(name: str, action: Callable[[], object]) -> None:
    """Print the mean time of an action."""
    action()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        action()
    print(f"{name}: {(time.perf_counter() - began) / ROUNDS * 1e9:.0f} ns")


def count_call() -> None:
    """Count one call to the API server."""
    metered = ApiCall("PATCH", "/apis/batch/v1/namespaces/n/jobs/a", {})
    metered.answered(200)
    metered.ended()


def make_no_span() -> None:
    """Open a span while spans are disabled."""
    with request_span("call", None):
        pass


def create_all_series() -> None:
    """Create every series of every definition."""
    for definition in DEFINITIONS:
        for outcome in range(OUTCOMES):
            metrics.REQUESTS.labels(definition, "refused", str(outcome)).inc()
        metrics.QUEUED_SECONDS.labels(definition).observe(1)
        metrics.STARTING_SECONDS.labels(definition).observe(1)


def main() -> None:
    """Print the figures."""
    measure("a counter with a label", lambda: metrics.ADMISSION_WRITES.labels("admitted").inc())
    measure("a histogram", lambda: metrics.CYCLE_SECONDS.observe(0.003))
    measure("a call to the API server", count_call)
    measure("no span", make_no_span)
    before = own_memory_kib()
    create_all_series()
    print(f"all series of {len(DEFINITIONS)} definitions: {own_memory_kib() - before} KiB")
    began = time.perf_counter()
    text = write_metrics("", DEFINITIONS)
    print(f"a scrape of {len(text.content)} bytes: {(time.perf_counter() - began) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
