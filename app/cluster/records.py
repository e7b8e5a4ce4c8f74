"""What this service reads of the cluster's objects: small records, so that ten thousand fit in little memory."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

from app.cluster import keys
from app.cluster.client import Json


class Phase(Enum):
    """Where a run is in its life."""

    QUEUED = "queued"
    """Suspended, with nothing of it running: it waits to be admitted."""
    ADMITTED = "admitted"
    """Neither queued nor finished: it holds a slot."""
    FINISHED = "finished"
    """It has a terminal condition, or is being deleted before it started: nothing of it will run any more."""


_JOB_CONTROLLER = "kubernetes.io/job-controller"
"""The value of `spec.managedBy` that says the same as none."""

DependsOn = tuple[str, ...] | None
"""Names of workloads that a run waits for; `None`: its annotation can't be read, so nobody knows."""


@dataclass(frozen=True, slots=True)
class AwaitedStart:
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
        awaited_start: `None`: it need not start in time, or has done so, or isn't admitted.
        started: whether a pod of it is ready, or has succeeded, as far as its status tells.
        created_at: when the API server stored it, microseconds since the epoch by that server's clock, whole seconds.
        held: whether somebody has annotated it to stay queued.
        managed_elsewhere: whether its `spec.managedBy` names another controller than Kubernetes' own, so that it isn't
            ours to start (https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller).
        acknowledged: whether the Job controller has written its status. Its first write follows the creation within
            milliseconds and changes the resourceVersion.
    """

    uid: str
    name: str
    definition: str
    resource_version: int
    queued_at: int
    depends_on: DependsOn
    phase: Phase
    awaited_start: AwaitedStart | None = None
    started: bool = False
    created_at: int = 0
    held: bool = False
    managed_elsewhere: bool = False
    acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet that runs may depend on.

    Attributes:
        kind: `Deployment` or `StatefulSet`.
        name: its name.
        resource_version: see `Run`.
        current: whether its status speaks of its present spec (observedGeneration), and it isn't being deleted.
        ready_replicas: pods that are ready.
        wanted_replicas: `spec.replicas`.
        available: the status of a Deployment's `Available` condition; `None` where there is none.
        replicas_min: the `SlimFaas/ReplicasMin` annotation as written; `None` where there is none.
    """

    kind: str
    name: str
    resource_version: int
    current: bool
    ready_replicas: int
    wanted_replicas: int
    available: bool | None
    replicas_min: str | None


def place(run: Run) -> tuple[int, str]:
    """What a definition's queue is sorted by: the time, and the name where two came at once."""
    return run.queued_at, run.name


def read_run(job: Json) -> Run:
    """Read a Job with our labels."""
    metadata: Json = job["metadata"]
    annotations: Json = metadata.get("annotations") or {}
    phase = phase_of(job)
    return Run(
        uid=metadata["uid"],
        name=metadata["name"],
        definition=metadata["labels"][keys.DEFINITION_LABEL],
        resource_version=int(metadata["resourceVersion"]),
        queued_at=read_queued_at(metadata),
        depends_on=read_depends_on(annotations.get(keys.DEPENDS_ON_ANNOTATION, "[]")),
        phase=phase,
        awaited_start=_read_awaited_start(job, annotations) if phase is Phase.ADMITTED else None,
        started=_has_started(job),
        created_at=read_time(metadata.get("creationTimestamp")) or 0,
        held=annotations.get(keys.HOLD_ANNOTATION, "false") != "false",
        managed_elsewhere=job["spec"].get("managedBy", _JOB_CONTROLLER) != _JOB_CONTROLLER,
        acknowledged=bool((job.get("status") or {}).get("conditions")),
    )


def _read_awaited_start(job: Json, annotations: Json) -> AwaitedStart | None:
    text, status = annotations.get(keys.PENDING_TIMEOUT_ANNOTATION, ""), job.get("status") or {}
    since = read_time(status.get("startTime"))
    if since is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    going = "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend")
    if going or keys.GAVE_UP_ANNOTATION in annotations or status.get("ready"):
        return None
    if find_condition(job, ("SuccessCriteriaMet", "FailureTarget")) is not None:
        return None
    uncounted = (status.get("uncountedTerminatedPods") or {}).get("failed")
    return AwaitedStart(since, int(text), has_failed=bool(status.get("failed") or uncounted))


def _has_started(job: Json) -> bool:
    status: Json = job.get("status") or {}
    return bool(status.get("ready") or status.get("succeeded"))


def phase_of(job: Json) -> Phase:
    """Where a Job is in its life.

    A run that was suspended again holds its slot until its pods are gone. That there are none is certain only when the
    Job controller has said that it is suspended: its counts come up to a second late.
    """
    status: Json = job.get("status") or {}
    if terminal_condition(job) is not None:
        return Phase.FINISHED
    resumed = find_condition(job, ("Suspended",), "False") is not None
    if not job["spec"].get("suspend") or resumed or status.get("active") or status.get("terminating"):
        return Phase.ADMITTED
    return Phase.FINISHED if "deletionTimestamp" in job["metadata"] else Phase.QUEUED


def terminal_condition(job: Json) -> Json | None:
    """The condition that ended the Job, `Complete` or `Failed`; `None` while it goes on."""
    return find_condition(job, ("Complete", "Failed"))


def find_condition(job: Json, types: tuple[str, ...], status: str = "True") -> Json | None:
    """The first condition of these types that has this status."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in types and condition["status"] == status:
            found: Json = condition
            return found
    return None


def read_queued_at(metadata: Json) -> int:
    """When a run was queued, in microseconds since the epoch; without our annotation, when the Job was created."""
    written = (metadata.get("annotations") or {}).get(keys.QUEUED_AT_ANNOTATION)
    moment = read_time(written) or read_time(metadata.get("creationTimestamp"))
    return moment or 0


def read_time(text: str | None) -> int | None:
    """Microseconds since the epoch of an RFC 3339 time; `None` where there is none, or no such time."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=128)  # few texts, or else long ones that callers made up
def read_depends_on(text: str) -> DependsOn:
    """The names in a depends-on annotation; `None` where it is no JSON list of strings.

    Runs of one definition mostly share one text, and so share one tuple.
    """
    try:
        names: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def read_workload(kind: str, workload: Json) -> Workload:
    """Read a Deployment or StatefulSet."""
    metadata, spec, status = workload["metadata"], workload["spec"], workload.get("status") or {}
    current = int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0)
    return Workload(
        kind=kind,
        name=metadata["name"],
        resource_version=int(metadata["resourceVersion"]),
        current=current and "deletionTimestamp" not in metadata,
        ready_replicas=int(status.get("readyReplicas") or 0),
        wanted_replicas=int(spec.get("replicas", 1)),
        available=next(
            (
                condition["status"] == "True"
                for condition in status.get("conditions") or ()
                if condition["type"] == "Available"
            ),
            None,
        ),
        replicas_min=(metadata.get("annotations") or {}).get(keys.REPLICAS_MIN_ANNOTATION),
    )


def is_run(job: Json) -> bool:
    """Whether a Job is one of ours."""
    labels = job["metadata"].get("labels") or {}
    return labels.get(keys.MANAGED_BY_LABEL) == keys.MANAGED_BY and keys.DEFINITION_LABEL in labels
