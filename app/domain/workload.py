"""Workloads: the Deployments and StatefulSets that runs depend on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet that runs may depend on.

    Attributes:
        kind: `Deployment` or `StatefulSet`.
        name: its name.
        resource_version: see `Run`.
        current: whether its status describes its present spec (observedGeneration), and it is not being deleted.
        ready_replicas: pods that are ready.
        wanted_replicas: `spec.replicas`.
        available: the status of a Deployment's `Available` condition; `None`: it has none.
        replicas_min: the `SlimFaas/ReplicasMin` annotation as written, of the workload or else of its pod template;
            `None`: neither has it.
    """

    kind: str
    name: str
    resource_version: int
    current: bool
    ready_replicas: int
    wanted_replicas: int
    available: bool | None
    replicas_min: str | None
