"""Scenario: how long a run waits beside definitions whose admissions hang, and beside one with a backlog."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bench.cluster import PUBLIC, BenchCluster, Caller, wait_leading
from benchmarks.bench.report import Row, milliseconds, percentile
from benchmarks.bench.scenarios.admitted import time_admissions
from benchmarks.bench.watcher import watch
from tests.support.faults import Delay, Fault, FaultProxy, Hold, Request
from tests.support.service import ServiceProcess

_HANGING = (0, 5, 10)
_HANGING_SLOTS = 5
_HANGING_RUNS = 20
_WAIT_GOAL_MS = 250

_BUSY_SLOTS = 30
_BUSY_QUEUE = 60
_WRITE_SECONDS = 0.11
_PAUSE_SECONDS = 0.3
_WAIT_SECONDS = 60.0
_WRITES_GOAL = 2


@dataclass(frozen=True, slots=True)
class _TimedRun:
    """A run that was started beside a backlog.

    Attributes:
        name: of its Job.
        uid: of its Job; empty: it was never admitted.
        accepted: when its 202 arrived, monotonic seconds.
        admitted: when its admission was seen; `None`: never.
    """

    name: str
    uid: str
    accepted: float
    admitted: float | None


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Put a proxy between the service and the API server, and hold back or delay admissions there."""
    yield from _beside_hanging(cluster)
    yield from _beside_backlog(cluster)


def _beside_hanging(cluster: BenchCluster) -> Iterator[Row]:
    definitions = {f"hang-{number}": {**PUBLIC, "NumberParallelJob": _HANGING_SLOTS} for number in range(max(_HANGING))}
    with (
        cluster.namespace() as namespace,
        FaultProxy(cluster.server.url, ca=cluster.server.ca_file) as proxy,
        cluster.replica(namespace, url=proxy.url, definitions=definitions) as service,
    ):
        wait_leading(service)
        time_admissions(cluster, service, namespace, 1)  # the first run opens connections
        proxy.add(Fault(Hold(), method="PATCH", path=r"/jobs/hang-", times=None))
        begun = 0
        for count in _HANGING:
            for name in list(definitions)[begun:count]:
                cluster.call_service(service, name, connections=4, seconds=_WAIT_SECONDS, most=_HANGING_RUNS)
            begun = count
            waits, missing = time_admissions(cluster, service, namespace, cluster.sizes.admissions)
            at = f"beside {count} definitions that hang" if count else "alone, through the same proxy"
            remark = f"{len(waits)} runs" + (f", {missing} never admitted" if missing else "")
            goal = _WAIT_GOAL_MS if count else None
            p50, p99 = (milliseconds(percentile(waits, percent)) for percent in (50, 99))
            yield Row("neighbours", f"{at}: 202 to admitted, p50", p50, "ms", remark=remark)
            yield Row("neighbours", f"{at}: 202 to admitted, p99", p99, "ms", at_most=goal)


def _beside_backlog(cluster: BenchCluster) -> Iterator[Row]:
    """Count the writes for the busy definition that are begun before a run's own admission.

    They are counted from the answer to the write of the Lease that names the run: from then on the run waits for
    nothing but a writer. Before that, the watch has to show the run, the Job controller makes its first write of it
    (for which the dispatcher waits 0.5 s at most), and the Lease is written. Other writers go on meanwhile. That the
    next write of the Lease names the run is what `tests/model` checks.
    """
    samples, backlog = cluster.sizes.neighbours
    definitions = {"busy": {**PUBLIC, "NumberParallelJob": _BUSY_SLOTS}}
    with (
        cluster.namespace() as namespace,
        FaultProxy(cluster.server.url, ca=cluster.server.ca_file) as proxy,
        cluster.replica(namespace, url=proxy.url, definitions=definitions) as service,
    ):
        wait_leading(service)
        time_admissions(cluster, service, namespace, 1)
        proxy.add(Fault(Delay(before_seconds=_WRITE_SECONDS), method="PATCH", path=r"/jobs/", times=None))
        cluster.call_service(service, "busy", connections=16, seconds=_WAIT_SECONDS, most=backlog)
        timed = _time_beside(cluster, service, namespace, samples)
        status = service.get("/jobs/status").json()
        queued = next(one["QueueLength"] for one in status if one["Name"] == "busy")
        requests = proxy.requests
    before_own = [_count_before(requests, run) for run in timed if run.admitted is not None]
    before = [count for count, _ in before_own]
    beside = f"beside a backlog, writes of {_WRITE_SECONDS * 1000:.0f} ms"
    remark = f"{len(before)} of {samples} runs; {queued} of the others were queued in the end"
    if queued < _BUSY_QUEUE:
        remark += f", fewer than {_BUSY_QUEUE}"
    most, half = percentile(before, 100), percentile(before, 50)
    since_accepted = percentile([count for _, count in before_own], 100)
    yield Row(
        "neighbours", f"{beside}: the others' writes before its own, most", most, at_most=_WRITES_GOAL, remark=remark
    )
    yield Row("neighbours", f"{beside}: the others' writes before its own, p50", half, remark=remark)
    yield Row("neighbours", f"{beside}: the others' writes since its 202, most", since_accepted, remark=remark)
    waits = [run.admitted - run.accepted for run in timed if run.admitted is not None]
    slowest = milliseconds(max(waits, default=None))
    yield Row("neighbours", f"{beside}: 202 to admitted, slowest", slowest, "ms", remark="with the run's own write")


def _time_beside(cluster: BenchCluster, service: ServiceProcess, namespace: str, samples: int) -> list[_TimedRun]:
    """Start runs one by one, and time them."""
    accepted: dict[str, float] = {}
    caller = Caller(service)
    with watch(cluster.server, namespace, "free") as watcher:
        for _ in range(samples):
            name, arrived = caller.start("free")
            accepted[name] = arrived
            watcher.wait_for({name}, seconds=_WAIT_SECONDS)
            time.sleep(_PAUSE_SECONDS)
    caller.close()
    if watcher.failure is not None:
        raise watcher.failure
    return [
        _TimedRun(name, watcher.uids.get(name, ""), at, watcher.admitted.get(name)) for name, at in accepted.items()
    ]


def _count_before(requests: Sequence[Request], run: _TimedRun) -> tuple[float, float]:
    """Return how many writes for the busy definition were begun before a run's own.

    Returns:
        Those since the Lease named the run, and those since the caller had its 202.
    """
    own = min(
        request.started
        for request in requests
        if request.method == "PATCH" and request.path.endswith(f"/jobs/{run.name}")
    )
    uid = run.uid.encode()
    named = min(
        request.finished
        for request in requests
        if "/leases/" in request.path and uid in request.body and request.finished is not None
    )
    busy = [request.started for request in requests if "/jobs/busy-" in request.path and request.method == "PATCH"]
    return sum(named < at < own for at in busy), sum(run.accepted < at < own for at in busy)
