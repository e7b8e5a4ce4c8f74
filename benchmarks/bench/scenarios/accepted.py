"""How many runs the service accepts, beside the same Jobs created directly, in turns."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.bench.load import Outcome
from benchmarks.bench.processes import family, read_cpu_seconds
from benchmarks.bench.report import Row, median, milliseconds, percentile
from benchmarks.bench.stage import Stage, wait_leading
from tests.support.service import ServiceProcess

_GOALS = {16: 0.75, 64: 0.6, 128: 0.6}
"""Connections -> the ratio of the rates to reach."""


@dataclass
class _Way:
    """One way of creating Jobs: what came of it, and each program's part of the CPU time, in cores."""

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

    def tell_cores(self) -> str:
        """The parts of the CPU time, biggest first."""
        names = {name for cores in self.cores for name in cores}
        parts = {name: median([cores.get(name, 0.0) for cores in self.cores]) or 0.0 for name in names}
        ordered = sorted(parts.items(), key=lambda part: -part[1])
        return "cores: " + ", ".join(f"{name} {part:.2f}" for name, part in ordered if part >= 0.01)


def measure(stage: Stage) -> Iterator[Row]:
    """Let direct calls and the service's take turns, at each number of connections."""
    with stage.namespace() as namespace, stage.namespace() as other, stage.replica(namespace) as service:
        wait_leading(service)
        for connections in stage.sizes.connections:
            ways = _take_turns(stage, service, namespace, other, connections)
            yield from _tell(connections, *ways)


def _take_turns(
    stage: Stage, service: ServiceProcess, namespace: str, other: str, connections: int
) -> tuple[_Way, _Way]:
    ours, direct = _Way(), _Way()
    pids = {**{name: [pid] for name, pid in stage.programs.items()}, "service": family(service.pid)}
    how = {"connections": connections, "seconds": stage.sizes.round_seconds}
    for _ in range(stage.sizes.rounds):
        for way in (direct, ours):
            before = {name: read_cpu_seconds(found) for name, found in pids.items()}
            outcome = (
                stage.call_directly(other, "crowd", **how)
                if way is direct
                else stage.call_service(service, "crowd", **how)
            )
            seconds = outcome.wall_seconds
            cores = {name: (read_cpu_seconds(found) - before[name]) / seconds for name, found in pids.items()}
            way.outcomes.append(outcome)
            way.cores.append({**cores, "callers": outcome.cpu_seconds / seconds})
            for name in (namespace, other):
                stage.empty(name)
    return ours, direct


def _tell(connections: int, ours: _Way, direct: _Way) -> Iterator[Row]:
    at = f"{connections} connections" if connections > 1 else "1 connection"
    pairs = zip(ours.outcomes, direct.outcomes, strict=True)
    ratios = [mine.per_second / theirs.per_second for mine, theirs in pairs if theirs.per_second]
    goal = _GOALS.get(connections)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds" if ratios else "nothing was created"
    yield Row("accepted", f"{at}: rate to direct rate", median(ratios), at_least=goal, remark=spread)
    for name, way in (("service", ours), ("direct", direct)):
        remark = f"{way.tell_cores()}; {way.others} not accepted" if way.others else way.tell_cores()
        yield Row("accepted", f"{at}: {name}, rate", way.rate, "/s", remark=remark)
        for percent in (50, 99):
            value = milliseconds(percentile(way.latencies, percent))
            yield Row("accepted", f"{at}: {name}, p{percent}", value, "ms")
    cpu = median(
        [
            cores["service"] / outcome.per_second * 1000
            for outcome, cores in zip(ours.outcomes, ours.cores, strict=True)
            if outcome.per_second
        ]
    )
    yield Row("accepted", f"{at}: CPU time of the service for each run", cpu, "ms")
