"""When a dependency of a run counts as ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.run import DependsOn
from app.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of one dependency.

    Attributes:
        name: as the run names it.
        ready: whether a run may start, as far as this dependency is concerned.
        detail: its replicas, or what is wrong, as text for people.
    """

    name: str
    ready: bool
    detail: str


Unready = Callable[[DependsOn], Sequence[Readiness]]
"""Returns the run's dependencies that are not ready."""


def unready_dependencies(depends_on: DependsOn, readiness: Mapping[str, Readiness]) -> list[Readiness]:
    """Return the dependencies that a run still waits for.

    Args:
        depends_on: the run's. A list that can't be read counts as one dependency that is never ready.
        readiness: of each of these dependencies, by name.
    """
    if depends_on is None:
        return [Readiness("its dependencies", ready=False, detail="the annotation that lists them can't be read")]
    return [readiness[name] for name in depends_on if not readiness[name].ready]


def assess(name: str, workloads: Sequence[Workload]) -> Readiness:
    """Decide whether a dependency is ready, by the Deployments and StatefulSets of its name.

    Guarantees:
        - a dependency that doesn't exist is not ready;
        - if a Deployment and a StatefulSet have the name, both must be ready;
        - a workload whose status describes an older spec is not ready: its counts may be about to change.
    """
    if not workloads:
        return Readiness(name, ready=False, detail="not found")
    judged = [_judge_one(workload) for workload in workloads]
    unready = [detail for ready, detail in judged if not ready]
    return Readiness(name, ready=not unready, detail=", ".join(unready or [detail for _, detail in judged]))


def _judge_one(workload: Workload) -> tuple[bool, str]:
    """Return whether a workload is ready, and its replicas as text."""
    if workload.replicas_min is not None:
        return _judge_by_annotation(workload, workload.replicas_min)
    if workload.kind == "Deployment":
        minimum = 1
        ready = workload.available is True and workload.ready_replicas >= 1
    else:
        minimum = max(1, workload.wanted_replicas)
        ready = workload.ready_replicas >= minimum
    return _detail(workload, ready, max(minimum, workload.wanted_replicas))


def _judge_by_annotation(workload: Workload, replicas_min: str) -> tuple[bool, str]:
    if not (replicas_min.isascii() and replicas_min.isdigit() and len(replicas_min) <= 9):
        return False, f"{workload.kind}: the annotation SlimFaas/ReplicasMin is not a number"
    minimum = max(1, int(replicas_min))
    return _detail(workload, workload.ready_replicas >= minimum, minimum)


def _detail(workload: Workload, ready: bool, wanted: int) -> tuple[bool, str]:
    counts = f"{workload.kind}: {workload.ready_replicas} of {wanted} ready"
    if not workload.current:
        return False, f"{counts}, but being changed"
    return ready, counts
