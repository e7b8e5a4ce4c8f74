"""When a dependency counts as ready."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.run import DependsOn
from app.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is known of one dependency.

    Attributes:
        name: as the run names it.
        ready: whether a run may start as far as this dependency goes.
        detail: its counts, or what is wrong, for people.
    """

    name: str
    ready: bool
    detail: str


Unready = Callable[[DependsOn], Sequence[Readiness]]
"""Those of a run's dependencies that are not ready."""


def unready_dependencies(depends_on: DependsOn, assess_by_name: Callable[[str], Readiness]) -> list[Readiness]:
    """The dependencies that a run still waits for; a list that can't be read is one that is never ready."""
    if depends_on is None:
        return [Readiness("its dependencies", ready=False, detail="the annotation that lists them can't be read")]
    return [readiness for name in depends_on if not (readiness := assess_by_name(name)).ready]


def assess(name: str, workloads: Sequence[Workload]) -> Readiness:
    """Judge a dependency by the Deployments and StatefulSets that bear its name.

    Guarantees:
        - one that doesn't exist is not ready;
        - where a Deployment and a StatefulSet share the name, both must be ready;
        - a status that speaks of an older spec says nothing, so it isn't ready.
    """
    if not workloads:
        return Readiness(name, ready=False, detail="not found")
    judged = [_judge_one(workload) for workload in workloads]
    unready = [detail for ready, detail in judged if not ready]
    return Readiness(name, ready=not unready, detail=", ".join(unready or [detail for _, detail in judged]))


def _judge_one(workload: Workload) -> tuple[bool, str]:
    if workload.replicas_min is not None:
        return _judge_by_annotation(workload, workload.replicas_min)
    if workload.kind == "Deployment":
        minimum = 1
        ready = workload.available is True and workload.ready_replicas >= 1
    else:
        minimum = max(1, workload.wanted_replicas)
        ready = workload.ready_replicas >= minimum
    return _detail(workload, ready, max(minimum, workload.wanted_replicas))


def _judge_by_annotation(workload: Workload, written: str) -> tuple[bool, str]:
    if not (written.isascii() and written.isdigit() and len(written) <= 9):
        return False, f"{workload.kind}: the annotation SlimFaas/ReplicasMin is not a number"
    minimum = max(1, int(written))
    return _detail(workload, workload.ready_replicas >= minimum, minimum)


def _detail(workload: Workload, ready: bool, wanted: int) -> tuple[bool, str]:
    counts = f"{workload.kind}: {workload.ready_replicas} of {wanted} ready"
    if not workload.current:
        return False, f"{counts}, but being changed"
    return ready, counts
