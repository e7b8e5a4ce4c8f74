"""Runs: our Jobs as the queue sees them, as small records, so that ten thousand take little memory."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from app.domain.run_end import RunEnd


class Phase(Enum):
    """The phase of a run's life."""

    QUEUED = "queued"
    """It is suspended, has no active pod, and was not handed to Kueue: it waits to be admitted."""
    ADMITTED = "admitted"
    """Started, or handed to Kueue, and not finished: it holds a slot, even while Kueue keeps it suspended."""
    FINISHED = "finished"
    """It has a terminal condition, is being deleted while suspended, or was ended in the queue: no pod of it will run
    any more."""


DependsOn = tuple[str, ...] | None
"""The names of the workloads that a run depends on; `None`: the annotation that lists them can't be read."""


@dataclass(frozen=True, slots=True)
class PendingStart:
    """The start deadline of an admitted run that has no ready pod yet, as far as its Job tells.

    Attributes:
        since: when Kubernetes started the Job, microseconds since the epoch, by the cluster's clock.
        seconds: how long an attempt may wait for its container to start; `None`: for as long as nothing is wrong with
            its images and its configuration.
        has_failed: whether an attempt has failed.
    """

    since: int
    seconds: int | None
    has_failed: bool


class KueueFacts(NamedTuple):
    """What Kueue has to do with a run. Most runs share one value, so that a queued run takes little memory.

    Attributes:
        local_queue: Kueue's LocalQueue, which decides about the run after it was admitted; empty: none.
        other_gates: the gates of other controllers that Kueue also waits for, separated by commas; empty: none.
        awaited: whether the run was handed to Kueue and does not run: it waits for Kueue, or was preempted.
        undone: what Kueue has undone by suspending it, as it does with Jobs that have no queue: its `start`, or its
            `end` in the queue; empty: nothing.
        gate_ignored: whether Kueue has started it before it was admitted.
    """

    local_queue: str = ""
    other_gates: str = ""
    awaited: bool = False
    undone: Literal["", "start", "end"] = ""
    gate_ignored: bool = False


NOT_IN_KUEUE = KueueFacts()


@dataclass(frozen=True, slots=True)
class Run:
    """One of our Jobs, as far as the queue is concerned.

    Attributes:
        uid: the Job's uid.
        name: the Job's name.
        definition: from the Job's label.
        resource_version: grows with every change of the object; comparable, see
            https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
        queued_at: microseconds since the epoch.
        depends_on: the workloads that must be ready before it starts.
        phase: queued, admitted or finished.
        pending_start: its start deadline; `None`: it has started, or it is not admitted.
        started: whether a pod of it is ready or has succeeded, according to the Job's status.
        created_at: when the API server stored it, by that server's clock, microseconds since the epoch (whole seconds).
        held: whether somebody has annotated it to stay queued.
        managed_elsewhere: whether its `spec.managedBy` names another controller than Kubernetes' own, so that it is
            that controller's to start:
            https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
        acknowledged: whether the Job controller has written its status. Its first write soon follows the creation,
            and changes the resourceVersion.
        queue_timeout_seconds: how long it may be queued; `None`: for ever, or it is not queued, or is not ours to end.
        queue_deadline: until when it may be queued, microseconds since the epoch, by the cluster's clock; `None` as
            before.
        end: how it ended; `None`: it is not finished.
        kueue: what Kueue has to do with it.
        requested_schedule: the name of the CronJob that has made it, if a request has made that; else empty.
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
    queue_timeout_seconds: int | None = None
    queue_deadline: int | None = None
    end: RunEnd | None = None
    kueue: KueueFacts = NOT_IN_KUEUE
    requested_schedule: str = ""

    @property
    def local_queue(self) -> str:
        """See `KueueFacts`."""
        return self.kueue.local_queue

    @property
    def awaits_kueue(self) -> bool:
        """See `KueueFacts.awaited`."""
        return self.kueue.awaited

    @property
    def undone_by_kueue(self) -> Literal["", "start", "end"]:
        """See `KueueFacts.undone`."""
        return self.kueue.undone


def queue_key(run: Run) -> tuple[int, str]:
    """Return what a definition's queue is sorted by: the time, then the name."""
    return run.queued_at, run.name
