"""Parsing of Kubernetes objects into the records of `app.domain`."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.common.types import Json
from app.domain.run import DependsOn, PendingStart, Phase, Run
from app.domain.workload import Workload
from app.kube import labels

_JOB_CONTROLLER = "kubernetes.io/job-controller"
"""The value of `spec.managedBy` that says the same as none."""


def read_run(job: Json) -> Run:
    """Read a Job with our labels."""
    metadata: Json = job["metadata"]
    annotations: Json = metadata.get("annotations") or {}
    phase = phase_of(job)
    return Run(
        uid=metadata["uid"],
        name=metadata["name"],
        definition=metadata["labels"][labels.DEFINITION_LABEL],
        resource_version=int(metadata["resourceVersion"]),
        queued_at=read_queued_at(metadata),
        depends_on=read_depends_on(annotations.get(labels.DEPENDS_ON_ANNOTATION, "[]")),
        phase=phase,
        pending_start=_read_pending_start(job, annotations) if phase is Phase.ADMITTED else None,
        started=_has_started(job),
        created_at=read_time(metadata.get("creationTimestamp")) or 0,
        held=annotations.get(labels.HOLD_ANNOTATION, "false") != "false",
        managed_elsewhere=job["spec"].get("managedBy", _JOB_CONTROLLER) != _JOB_CONTROLLER,
        acknowledged=bool((job.get("status") or {}).get("conditions")),
    )


def _read_pending_start(job: Json, annotations: Json) -> PendingStart | None:
    text, status = annotations.get(labels.PENDING_TIMEOUT_ANNOTATION, ""), job.get("status") or {}
    since = read_time(status.get("startTime"))
    if since is None or not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    going = "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend")
    if going or labels.GAVE_UP_ANNOTATION in annotations or status.get("ready"):
        return None
    if find_condition(job, ("SuccessCriteriaMet", "FailureTarget")) is not None:
        return None
    uncounted = (status.get("uncountedTerminatedPods") or {}).get("failed")
    return PendingStart(since, int(text), has_failed=bool(status.get("failed") or uncounted))


def _has_started(job: Json) -> bool:
    status: Json = job.get("status") or {}
    return bool(status.get("ready") or status.get("succeeded"))


def phase_of(job: Json) -> Phase:
    """Return the phase of a Job.

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
    """Return the condition that ended the Job, `Complete` or `Failed`; `None`: it has not ended."""
    return find_condition(job, ("Complete", "Failed"))


def find_condition(job: Json, types: tuple[str, ...], status: str = "True") -> Json | None:
    """Return the first condition of these types that has this status; `None`: there is none."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in types and condition["status"] == status:
            found: Json = condition
            return found
    return None


def read_queued_at(metadata: Json) -> int:
    """Return when a run was queued, in microseconds since the epoch; without our annotation, when it was created."""
    written = (metadata.get("annotations") or {}).get(labels.QUEUED_AT_ANNOTATION)
    moment = read_time(written) or read_time(metadata.get("creationTimestamp"))
    return moment or 0


def read_time(text: str | None) -> int | None:
    """Return an RFC 3339 time in microseconds since the epoch; `None`: there is none, or it is invalid."""
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
    """Return the names in a depends-on annotation; `None`: it is not a JSON list of strings.

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
        replicas_min=(metadata.get("annotations") or {}).get(labels.REPLICAS_MIN_ANNOTATION),
    )


def is_run(job: Json) -> bool:
    """Tell whether a Job is a run."""
    own = job["metadata"].get("labels") or {}
    return own.get(labels.MANAGED_BY_LABEL) == labels.MANAGED_BY and labels.DEFINITION_LABEL in own
