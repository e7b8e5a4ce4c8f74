"""Parsing of Kubernetes objects into the records of `app.domain`.

The API server has checked the fields of an object. It has not checked what annotations say: whoever may write the
object may have written anything. So every annotation is read here or in `app.kube.attempts` and
`app.dispatcher.intent`, within bounds, and nothing that it says can raise.
"""

import json
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from app.common.types import Json
from app.domain.names import cronjob_name, is_requested_schedule_id, is_schedule_id
from app.domain.run import NOT_IN_KUEUE, DependsOn, KueueFacts, PendingStart, Phase, Run
from app.domain.run_end import PENDING_TIMEOUT, QUEUE_TIMEOUT, RunEnd
from app.domain.user_names import read_user_name
from app.domain.workload import Workload
from app.kube import labels
from schemas.dependencies import MAX_NAMES, MAX_NAMES_BYTES, count_bytes, is_workload_name
from schemas.run import Notification

_JOB_CONTROLLER = "kubernetes.io/job-controller"
"""The value of `spec.managedBy` that says the same as none."""

_KUEUE = "kueue"
"""The field manager of Kueue's writes: the beginning of its user agent, whatever its program is called."""

_MULTIKUEUE = "kueue.x-k8s.io/multikueue"
"""The value that Kueue sets for a LocalQueue whose runs may run in other clusters."""


def read_run(job: Json) -> Run:
    """Read a Job with our labels."""
    metadata: Json = job["metadata"]
    annotations: Json = metadata.get("annotations") or {}
    phase = phase_of(job)
    created_at = read_time(metadata.get("creationTimestamp")) or 0
    held = annotations.get(labels.HOLD_ANNOTATION, "false") != "false"
    local_queue = _local_queue_of(job)
    managed_elsewhere = job["spec"].get("managedBy", _JOB_CONTROLLER) not in _managers(local_queue)
    is_ours_to_end = phase is Phase.QUEUED and not held and not managed_elsewhere and may_end_in_queue(job)
    queue_timeout = _read_seconds(annotations.get(labels.QUEUE_TIMEOUT_ANNOTATION)) if is_ours_to_end else None
    return Run(
        uid=metadata["uid"],
        name=metadata["name"],
        definition=sys.intern(metadata["labels"][labels.DEFINITION_LABEL]),  # many runs have the same one
        resource_version=int(metadata["resourceVersion"]),
        queued_at=read_queued_at(metadata),
        depends_on=read_depends_on(annotations.get(labels.DEPENDS_ON_ANNOTATION, "[]")),
        phase=phase,
        pending_start=_read_pending_start(job, annotations) if phase is Phase.ADMITTED else None,
        started=_has_started(job),
        created_at=created_at,
        held=held,
        managed_elsewhere=managed_elsewhere,
        acknowledged=bool((job.get("status") or {}).get("conditions")),
        queue_timeout_seconds=queue_timeout,
        queue_deadline=None if queue_timeout is None else _queued_since(job, created_at) + queue_timeout * 1_000_000,
        end=_read_end(job) if phase is Phase.FINISHED else None,
        kueue=_read_kueue_facts(job, phase, local_queue),
        requested_schedule=_read_requested_schedule(metadata["labels"]) if phase is Phase.QUEUED else "",
    )


def _read_kueue_facts(job: Json, phase: Phase, local_queue: str) -> KueueFacts:
    undone = _read_undone(job, phase, local_queue)
    if not local_queue and not undone:
        return NOT_IN_KUEUE
    return KueueFacts(
        local_queue=local_queue,
        other_gates=_read_other_gates(job["metadata"].get("annotations") or {}) if local_queue else "",
        awaited=bool(local_queue) and phase is Phase.ADMITTED and _is_suspended(job),
        undone=undone,
        gate_ignored=phase is Phase.ADMITTED and bool(local_queue) and _has_ignored_gate(job),
    )


def _local_queue_of(job: Json) -> str:
    """Return Kueue's LocalQueue that a run is handed to when it is admitted; empty: none."""
    return sys.intern(str((job["metadata"].get("labels") or {}).get(labels.LOCAL_QUEUE_LABEL) or ""))


def is_gated(job: Json) -> bool:
    """Return whether a run still has the gate that keeps Kueue from starting it."""
    return labels.GATE in _read_gates(job["metadata"].get("annotations") or {})


def _read_gates(annotations: Json) -> list[str]:
    text = annotations.get(labels.GATE_ANNOTATION) or ""
    return [gate for part in text[:_MAX_GATES_LENGTH].split(",") if (gate := part.strip())]


def _read_other_gates(annotations: Json) -> str:
    return ",".join(gate for gate in _read_gates(annotations) if gate != labels.GATE)


_MAX_GATES_LENGTH = 1024
"""A gate has at most 63 characters, and other controllers add theirs when the Job is made."""


def _has_ignored_gate(job: Json) -> bool:
    """Return whether Kueue has started a run that still has its gate."""
    return not job["spec"].get("suspend") and is_gated(job) and _has_kueue_written_suspend(job)


def may_end_in_queue(job: Json) -> bool:
    """Return whether the service can end a run that is queued: Kueue undoes that where it manages the Job."""
    timed_out = labels.QUEUE_TIMED_OUT_ANNOTATION in (job["metadata"].get("annotations") or {})
    return not _local_queue_of(job) and not timed_out


def _managers(local_queue: str) -> tuple[str, ...]:
    """Return the values of `spec.managedBy` of Jobs that are ours to admit."""
    return (_JOB_CONTROLLER, _MULTIKUEUE) if local_queue else (_JOB_CONTROLLER,)


def _has_kueue_written_suspend(job: Json) -> bool:
    """Return whether Kueue was the last to write `spec.suspend` of a Job.

    https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
    """
    for entry in job["metadata"].get("managedFields") or ():
        if entry.get("manager") == _KUEUE and "f:suspend" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            return True
    return False


def what_kueue_has_undone(job: Json) -> Literal["", "start", "end"]:
    """Return what Kueue has undone by suspending a run that has no queue; see `KueueFacts.undone`."""
    return _read_undone(job, phase_of(job), _local_queue_of(job))


def _read_undone(job: Json, phase: Phase, local_queue: str) -> Literal["", "start", "end"]:
    if phase is not Phase.QUEUED or local_queue or not _has_kueue_written_suspend(job):
        return ""
    timed_out = labels.QUEUE_TIMED_OUT_ANNOTATION in (job["metadata"].get("annotations") or {})
    return "end" if timed_out else "start"


def is_in_another_cluster(job: Json) -> bool:
    """Return whether MultiKueue runs a Job in another cluster."""
    return bool(job["spec"].get("managedBy") == _MULTIKUEUE)


def _is_suspended(job: Json) -> bool:
    """Return whether a Job is suspended and has no pod."""
    status: Json = job.get("status") or {}
    resumed = find_condition(job, ("Suspended",), "False") is not None
    return bool(job["spec"].get("suspend")) and not (resumed or status.get("active") or status.get("terminating"))


def _read_requested_schedule(own: Json) -> str:
    """Return the name of the CronJob of the schedule that a run's labels name, if a request has made the schedule."""
    schedule_id = own.get(labels.SCHEDULE_LABEL, "")
    return cronjob_name(own[labels.DEFINITION_LABEL], schedule_id) if is_requested_schedule_id(schedule_id) else ""


def _read_end(job: Json) -> RunEnd:
    """Read how a finished run ended."""
    status, condition = job.get("status") or {}, terminal_condition(job)
    by = started_by(job)
    if is_ended_in_queue(job) and (condition is None or condition["type"] == "Failed"):
        ended_at = read_time((condition or {}).get("lastTransitionTime"))
        return RunEnd("failed", QUEUE_TIMEOUT, ended_at=ended_at, started_by=by, undelivered=_is_undelivered(job))
    if condition is None:
        return RunEnd("cancelled", started_by=by)
    has_succeeded = condition["type"] == "Complete"
    missed_start = labels.GAVE_UP_ANNOTATION in (job["metadata"].get("annotations") or {})
    reason = read_reason(condition.get("reason"))
    return RunEnd(
        "succeeded" if has_succeeded else "failed",
        "" if has_succeeded else PENDING_TIMEOUT if missed_start and reason == "DeadlineExceeded" else reason,
        started_at=read_time(status.get("startTime")),
        ended_at=read_time(status.get("completionTime") or condition.get("lastTransitionTime")),
        failed_pods=int(status.get("failed") or 0),
        started_by=by,
        undelivered=_is_undelivered(job),
    )


def _is_undelivered(job: Json) -> bool:
    """Return whether somebody is to be told that a run has ended. Whoever deletes it wants nobody to be told."""
    return read_notification(job) is Notification.UNDELIVERED and "deletionTimestamp" not in job["metadata"]


def read_notification(job: Json) -> Notification:
    """Return whether somebody has been told of the end of a run. What we have not written counts as none."""
    written = (job["metadata"].get("annotations") or {}).get(labels.NOTIFICATION_ANNOTATION)
    if written == Notification.UNDELIVERED:
        return Notification.WAITING if terminal_condition(job) is None else Notification.UNDELIVERED
    kept = (Notification.DELIVERED, Notification.GIVEN_UP, Notification.NOT_WANTED)
    return next((one for one in kept if one == written), Notification.NONE)


def read_ttl_seconds(job: Json) -> int | None:
    """Return how long Kubernetes keeps a run after its end, at the soonest; `None`: until it is deleted.

    A run whose end is not told yet has this time only in an annotation.
    """
    own: int | None = job["spec"].get("ttlSecondsAfterFinished")
    annotations = job["metadata"].get("annotations") or {}
    written = _read_seconds(annotations.get(labels.TTL_ANNOTATION))
    return own if own is not None or written is None else min(written, _MAX_INT32)


_MAX_INT32 = 2**31 - 1
"""The highest number of seconds that Kubernetes takes."""


def _read_seconds(text: str | None) -> int | None:
    """Return a number of seconds that an annotation holds; `None`: there is none, or it is invalid."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 10 else None


def _queued_since(job: Json, created_at: int) -> int:
    """Return since when a run is queued, by the cluster's clock, microseconds since the epoch.

    A run that was started and suspended again is queued since then. Kubernetes cuts times to whole seconds, so that
    the next second counts: no run may be queued for less than its time.
    """
    suspended = find_condition(job, ("Suspended",)) or {}
    return max(created_at, read_time(suspended.get("lastTransitionTime")) or 0) + 1_000_000


def _read_pending_start(job: Json, annotations: Json) -> PendingStart | None:
    seconds, status = _read_seconds(annotations.get(labels.PENDING_TIMEOUT_ANNOTATION)), job.get("status") or {}
    since = read_time(status.get("startTime"))
    if since is None:
        return None
    going = "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend") or is_in_another_cluster(job)
    if going or labels.GAVE_UP_ANNOTATION in annotations or status.get("ready"):
        return None
    if find_condition(job, ("SuccessCriteriaMet", "FailureTarget")) is not None:
        return None
    uncounted = (status.get("uncountedTerminatedPods") or {}).get("failed")
    return PendingStart(since, seconds, has_failed=bool(status.get("failed") or uncounted))


def _has_started(job: Json) -> bool:
    status: Json = job.get("status") or {}
    return bool(status.get("ready") or status.get("succeeded"))


def phase_of(job: Json) -> Phase:
    """Return the phase of a Job.

    A run that was suspended again holds its slot until its pods are gone. That there are none is certain only when the
    Job controller has said that it is suspended: its counts come up to a second late. A run that was handed to Kueue
    holds its slot until it has ended: Kueue may start it at any moment.
    """
    if terminal_condition(job) is not None or is_ended_in_queue(job):
        return Phase.FINISHED
    if not _is_suspended(job):
        return Phase.ADMITTED
    if "deletionTimestamp" in job["metadata"]:
        return Phase.FINISHED
    return Phase.ADMITTED if _local_queue_of(job) and not is_gated(job) else Phase.QUEUED


def is_ended_in_queue(job: Json) -> bool:
    """Return whether a run was ended because it was queued for too long. It has no pod, and gets none."""
    spec, status = job["spec"], job.get("status") or {}
    return (
        labels.QUEUE_TIMED_OUT_ANNOTATION in (job["metadata"].get("annotations") or {})
        and spec.get("parallelism") == 0
        and not spec.get("suspend")
        and not status.get("active")
        and not status.get("terminating")
    )


def terminal_condition(job: Json) -> Json | None:
    """Return the condition that ended the Job, `Complete` or `Failed`; `None`: it has not ended."""
    return find_condition(job, ("Complete", "Failed"))


def find_condition(item: Json, types: tuple[str, ...], status: str = "True") -> Json | None:
    """Return the first condition of a Job or pod that has one of these types and this status; `None`: there is none."""
    for condition in (item.get("status") or {}).get("conditions") or ():
        if condition["type"] in types and condition["status"] == status:
            found: Json = condition
            return found
    return None


_MAX_REASON_LENGTH = 128


def read_reason(text: str | None) -> str:
    """Return a reason: one word in CamelCase, unless somebody else has written it; empty: there is none."""
    return (text or "")[:_MAX_REASON_LENGTH]


def read_queued_at(metadata: Json) -> int:
    """Return when a run was queued, in microseconds since the epoch.

    The annotation gives the order of runs that were created in the same second. One that differs from the
    creationTimestamp by more than `_MAX_QUEUED_AT_SECONDS` was not written by a request to this service: it would let a
    Job jump the queue. Then, and without an annotation, the creationTimestamp counts.
    """
    created = read_time(metadata.get("creationTimestamp"))
    written = read_time((metadata.get("annotations") or {}).get(labels.QUEUED_AT_ANNOTATION))
    if created is None or written is None:
        return written or created or 0
    return written if abs(written - created) <= _MAX_QUEUED_AT_SECONDS * 1_000_000 else created


_MAX_QUEUED_AT_SECONDS = 60
"""How far `queued-at` and creationTimestamp may differ: the clocks of a pod and of the API server differ a little, and
the create is repeated for some seconds."""

_MAX_TIME_LENGTH = 64


def read_time(text: str | None) -> int | None:
    """Return an RFC 3339 time in microseconds since the epoch; `None`: there is none, or it is invalid."""
    return None if not text or len(text) > _MAX_TIME_LENGTH else _parse_time(text)


@lru_cache(maxsize=128)  # objects of the same second that are read soon after each other share one number
def _parse_time(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_MAX_LIST_LENGTH = MAX_NAMES_BYTES + 4 * MAX_NAMES + 2
"""The longest text of a list of dependencies, as `json.dumps` writes it: each name has two quotes, a comma and a
space."""


def read_depends_on(text: str) -> DependsOn:
    """Return the names in a depends-on annotation.

    Runs of one definition mostly share one text, and so share one tuple.

    Returns:
        The names; `None`: the annotation is not a JSON list of names of workloads, or it has more of them than a
        definition may have. Such a run is never ready.
    """
    return None if len(text) > _MAX_LIST_LENGTH else _parse_depends_on(text)


@lru_cache(maxsize=128)  # few texts, or else long ones that callers made up
def _parse_depends_on(text: str) -> DependsOn:
    try:
        names: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or len(names) > MAX_NAMES:
        return None
    if not all(isinstance(name, str) and is_workload_name(name) for name in names):
        return None
    return tuple(names) if count_bytes(names) <= MAX_NAMES_BYTES else None


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
        replicas_min=_cut(_replicas_min(workload)),
    )


def _replicas_min(workload: Json) -> str | None:
    """Return the annotation of a workload, or else that of its pod template, where SlimFaas expects it."""
    pod_template: Json = workload["spec"].get("template") or {}
    for holder in (workload, pod_template):
        annotations = (holder.get("metadata") or {}).get("annotations") or {}
        if labels.REPLICAS_MIN_ANNOTATION in annotations:
            return str(annotations[labels.REPLICAS_MIN_ANNOTATION])
    return None


def started_by(job: Json) -> str:
    """Return the user who has started a run, in the form of `write_user_name`; empty: unknown."""
    annotations = job["metadata"].get("annotations") or {}
    return read_user_name(annotations.get(labels.STARTED_BY_ANNOTATION))


def schedule_of(job: Json) -> str:
    """Return the id of the schedule that a run was made from; empty: a request has made it, or a person."""
    found = str((job["metadata"].get("labels") or {}).get(labels.SCHEDULE_LABEL, ""))
    return found if is_schedule_id(found) else ""


def _cut(number: str | None) -> str | None:
    """Keep so much of a text that should be a number that a longer one is still told from one."""
    return None if number is None else number[:16]


def is_run(job: Json) -> bool:
    """Tell whether a Job is a run."""
    own = job["metadata"].get("labels") or {}
    return own.get(labels.MANAGED_BY_LABEL) == labels.MANAGED_BY and labels.DEFINITION_LABEL in own
