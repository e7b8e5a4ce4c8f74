"""Runs: the Jobs of ours as the queue sees them, in small records, so that ten thousand fit in little memory."""

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """Where a run is in its life."""

    QUEUED = "queued"
    """Suspended, with nothing of it running: it waits to be admitted."""
    ADMITTED = "admitted"
    """Neither queued nor finished: it holds a slot."""
    FINISHED = "finished"
    """It has a terminal condition, or is being deleted before it started: nothing of it will run any more."""


DependsOn = tuple[str, ...] | None
"""Names of workloads that a run waits for; `None`: its annotation can't be read, so nobody knows."""


@dataclass(frozen=True, slots=True)
class PendingStart:
    """An admitted run that must start in time, and of which nothing is known to be ready.

    Attributes:
        since: when Kubernetes started the Job, microseconds since the epoch, by the cluster's clock.
        seconds: how long an attempt may wait for its container to start.
        has_failed: whether an attempt has failed already.
    """

    since: int
    seconds: int
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A Job of ours, as far as the queue is concerned.

    Attributes:
        uid: the Job's.
        name: the Job's.
        definition: from its label.
        resource_version: grows with every change of the object; comparable, see
            https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
        queued_at: microseconds since the epoch.
        depends_on: what must be ready before it starts.
        phase: queued, admitted or finished.
        pending_start: `None`: it need not start in time, or has done so, or isn't admitted.
        started: whether a pod of it is ready, or has succeeded, as far as its status tells.
        created_at: when the API server stored it, microseconds since the epoch by that server's clock, whole seconds.
        held: whether somebody has annotated it to stay queued.
        managed_elsewhere: whether its `spec.managedBy` names another controller than Kubernetes' own, so that it is
            that controller's to start:
            https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
        acknowledged: whether the Job controller has written its status. Its first write follows the creation within
            milliseconds, and changes the resourceVersion.
    """

    uid: str
    name: str
    definition: str
    resource_version: int
    queued_at: int
    depends_on: DependsOn
    phase: Phase
    pending_start: PendingStart | None = None
    started: bool = False
    created_at: int = 0
    held: bool = False
    managed_elsewhere: bool = False
    acknowledged: bool = True


def queue_key(run: Run) -> tuple[int, str]:
    """What a definition's queue is sorted by: the time, and the name where two came at once."""
    return run.queued_at, run.name
