"""Scenario: the rate of accepted runs, compared with the same Jobs created directly."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.bench.cluster import BenchCluster, wait_leading
from benchmarks.bench.load import Outcome
from benchmarks.bench.processes import family, read_cpu_seconds
from benchmarks.bench.report import Row, median, milliseconds, percentile
from tests.support.service import ServiceProcess

_GOALS = {16: 0.75, 64: 0.6, 128: 0.6, 256: 0.6}
"""The goal for the ratio of the rates, by number of connections."""

_CPU_GOAL_MS = 1.4
"""The goal for the CPU time of the service for each run, over 16 connections."""


@dataclass
class _Method:
    """The results of one method of creating Jobs, and each program's CPU time in cores."""

    outcomes: list[Outcome] = field(default_factory=list)
    cores: list[dict[str, float]] = field(default_factory=list)

    @property
    def rate(self) -> float | None:
        return median([outcome.per_second for outcome in self.outcomes])

    @property
    def latencies(self) -> list[float]:
        return [latency for outcome in self.outcomes for latency in outcome.latencies_seconds]

    @property
    def others(self) -> int:
        return sum(sum(outcome.others.values()) for outcome in self.outcomes)

    def describe_cores(self) -> str:
        """Return the CPU time by program, biggest first."""
        names = {name for cores in self.cores for name in cores}
        parts = {name: median([cores.get(name, 0.0) for cores in self.cores]) or 0.0 for name in names}
        ordered = sorted(parts.items(), key=lambda part: -part[1])
        return "cores: " + ", ".join(f"{name} {part:.2f}" for name, part in ordered if part >= 0.01)


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Alternate direct creates and the service, at each number of connections."""
    with cluster.namespace() as namespace, cluster.namespace() as other, cluster.replica(namespace) as service:
        wait_leading(service)
        for connections in cluster.sizes.connections:
            methods = _take_turns(cluster, service, namespace, other, connections)
            yield from _rows(connections, *methods)


def _take_turns(
    cluster: BenchCluster, service: ServiceProcess, namespace: str, other: str, connections: int
) -> tuple[_Method, _Method]:
    ours, direct = _Method(), _Method()
    pids = {**{name: [pid] for name, pid in cluster.programs.items()}, "service": family(service.pid)}
    how = {"connections": connections, "seconds": cluster.sizes.round_seconds}
    for _ in range(cluster.sizes.rounds):
        for method in (direct, ours):
            before = {name: read_cpu_seconds(found) for name, found in pids.items()}
            outcome = (
                cluster.call_directly(other, "crowd", **how)
                if method is direct
                else cluster.call_service(service, "crowd", **how)
            )
            seconds = outcome.wall_seconds
            cores = {name: (read_cpu_seconds(found) - before[name]) / seconds for name, found in pids.items()}
            method.outcomes.append(outcome)
            method.cores.append({**cores, "callers": outcome.cpu_seconds / seconds})
            for name in (namespace, other):
                cluster.empty(name)
    return ours, direct


def _rows(connections: int, ours: _Method, direct: _Method) -> Iterator[Row]:
    at = f"{connections} connections" if connections > 1 else "1 connection"
    pairs = zip(ours.outcomes, direct.outcomes, strict=True)
    ratios = [mine.per_second / theirs.per_second for mine, theirs in pairs if theirs.per_second]
    goal = _GOALS.get(connections)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds" if ratios else "nothing was created"
    yield Row("accepted", f"{at}: rate to direct rate", median(ratios), at_least=goal, remark=spread)
    if connections > 1:
        remark = f"of {len(ours.latencies) + ours.others:,}"
        yield Row("accepted", f"{at}: not accepted", ours.others, at_most=0, remark=remark)
    for name, method in (("service", ours), ("direct", direct)):
        remark = (
            f"{method.describe_cores()}; {method.others} not accepted" if method.others else method.describe_cores()
        )
        yield Row("accepted", f"{at}: {name}, rate", method.rate, "/s", remark=remark)
        for percent in (50, 99):
            value = milliseconds(percentile(method.latencies, percent))
            yield Row("accepted", f"{at}: {name}, p{percent}", value, "ms")
    cpu = median(
        [
            cores["service"] / outcome.per_second * 1000
            for outcome, cores in zip(ours.outcomes, ours.cores, strict=True)
            if outcome.per_second
        ]
    )
    goal = _CPU_GOAL_MS if connections == 16 else None
    yield Row("accepted", f"{at}: CPU time of the service for each run", cpu, "ms", at_most=goal)
