"""The status of a run, and the reason for it: a pure view of its Job, its attempts and why it is queued.

The Job decides what is true of a run. Its pods add details for as long as they exist. When they are gone, the view has
fewer details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.common.types import Json
from app.domain.attempt import Attempt, Termination, WaitingReason, sort_attempts
from app.domain.names import id_in
from app.domain.run import Phase, Run
from app.kube import labels
from app.kube.attempts import cut
from app.kube.manifests import unescape
from app.kube.parsing import find_condition, read_run, read_time, terminal_condition
from schemas.run import Resources, RunView, Status

ADMITTED_STATUSES = frozenset({Status.PENDING, Status.RUNNING, Status.IMAGE_PULL_BACK_OFF})
"""The statuses of an admitted run; its pods tell which one it has."""

_PULL_FAILURES = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_PENDING_TIMEOUT = "PendingTimeout"
"""The reason of a run that missed its start deadline. To Kubernetes this is any deadline that is exceeded."""

_DEFAULT_BACKOFF_LIMIT = 6
"""https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy"""


@dataclass(frozen=True, slots=True)
class QueuedStatus:
    """Why a queued run waits.

    Attributes:
        position: its position in the queue, from 1 on.
        reason: as in the dispatcher's Events.
        message: text for people.
    """

    position: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _State:
    status: Status
    reason: str = ""
    message: str = ""


def possible_statuses(job: Json, run: Run) -> frozenset[Status]:
    """Return the statuses that a run may have, by its Job alone."""
    if run.phase is Phase.ADMITTED:
        return ADMITTED_STATUSES
    ended = terminal_condition(job)
    if ended is None:
        return frozenset({Status.QUEUED})
    return frozenset({Status.SUCCEEDED if ended["type"] == "Complete" else Status.FAILED})


def build_view(job: Json, pods: Sequence[Attempt] = (), waiting: QueuedStatus | None = None) -> RunView:
    """Make the view of a run.

    Args:
        job: the run's.
        pods: attempts in any order. Those of other Jobs, such as an earlier one of the same name, are ignored.
        waiting: why the run waits, if it is queued.
    """
    run = read_run(job)
    attempts = sort_attempts([pod for pod in pods if pod.owner == run.uid])
    ending = next((attempt.ending for attempt in reversed(attempts) if attempt.ending), None)
    state = _state(job, run, attempts, ending, waiting)
    status: Json = job.get("status") or {}
    container: Json = _container(job, run.definition)
    resources: Json = container.get("resources") or {}
    args = container.get("args")
    started = _milliseconds(status.get("startTime"))
    ended = _milliseconds(status.get("completionTime") or (terminal_condition(job) or {}).get("lastTransitionTime"))
    queued = run.queued_at // 1000
    return RunView(
        id=id_in(run.name),
        name=run.name,
        status=state.status,
        reason=state.reason,
        message=state.message,
        position_in_queue=waiting.position if waiting else -1,
        in_queue_timestamp=queued,
        start_timestamp=started,
        end_timestamp=ended,
        # Kubernetes cuts times to whole seconds: a run that starts at once may seem to start before it is queued.
        queue_duration_milliseconds=-1 if started == -1 else max(0, started - queued),
        run_duration_milliseconds=-1 if -1 in (started, ended) else max(0, ended - started),
        attempts=_count_attempts(status, attempts),
        exit_code=ending.exit_code if ending else -1,
        result=ending.result if ending else "",
        image=str(container.get("image") or ""),
        args=None if args is None else tuple(map(unescape, args)),
        resources=Resources(dict(resources.get("requests") or {}), dict(resources.get("limits") or {})),
        depends_on=run.depends_on,
        environments=tuple(variable["name"] for variable in container.get("env") or ()),
    )


def _milliseconds(text: str | None) -> int:
    moment = read_time(text)
    return -1 if moment is None else moment // 1000


def _container(job: Json, definition: str) -> Json:
    """Return the run's own container: the one named as the definition. An admission webhook may have added others."""
    found: list[Json] = job["spec"]["template"]["spec"].get("containers") or [{}]
    return next((container for container in found if container.get("name") == definition), found[0])


def _state(
    job: Json, run: Run, attempts: Sequence[Attempt], ending: Termination | None, waiting: QueuedStatus | None
) -> _State:
    deleting = "deletionTimestamp" in job["metadata"]
    if run.phase is Phase.FINISHED:
        ended = terminal_condition(job)
        if ended is None:
            return _State(Status.QUEUED, "Deleting", "is being deleted before it started")
        if ended["type"] == "Complete":
            return _State(Status.SUCCEEDED)
        if (why := _missed_deadline(job)) and ended.get("reason") == "DeadlineExceeded":
            return _State(Status.FAILED, _PENDING_TIMEOUT, why)
        message = _join(cut(ended.get("message")), _describe_ending(attempts, ending))
        return _State(Status.FAILED, str(ended.get("reason") or "Failed"), message)
    if run.phase is Phase.QUEUED:
        return _State(Status.QUEUED, waiting.reason, waiting.message) if waiting else _State(Status.QUEUED)
    state = _admitted_state(job, attempts, ending)
    if deleting:
        return _State(state.status, "Deleting", "is being deleted; it holds its slot until its pod is gone")
    return state


def _admitted_state(job: Json, attempts: Sequence[Attempt], ending: Termination | None) -> _State:
    """Return the state of an admitted run. While retries remain, a failed attempt does not make it a failed run."""
    if why := _missed_deadline(job):
        return _State(Status.PENDING, _PENDING_TIMEOUT, _join("is being ended", why))
    target = find_condition(job, ("SuccessCriteriaMet", "FailureTarget"))
    last = attempts[-1] if attempts else None
    if target is not None or (last is not None and last.phase == "Succeeded"):
        message = _join("its last pod is being ended", cut((target or {}).get("message")))
        return _State(Status.RUNNING, "Ending", message)
    if job["spec"].get("suspend"):
        status = Status.RUNNING if last and last.running else Status.PENDING
        return _State(status, "Suspended", "was suspended again; it holds its slot until its pod is gone")
    status_of_job: Json = job.get("status") or {}
    limit = job["spec"].get("backoffLimit", _DEFAULT_BACKOFF_LIMIT)
    retries = _count_attempts(status_of_job, attempts) - 1
    retry = f"retry {retries} of {limit}" if retries > 0 else ""
    if last is not None and last.phase != "Failed":
        if last.running:
            return _State(Status.RUNNING, "Retrying" if retry else "", _join(retry, _describe_ending(attempts, ending)))
        return _state_of_waiting(last.trouble, _join(retry, _describe_ending(attempts, ending)))
    failed = _count_failed(status_of_job, attempts)
    if failed > limit:
        return _State(Status.RUNNING, "Ending", _join("no retry is left", _describe_ending(attempts, ending)))
    if failed:
        used = f"waits for a retry: {max(0, failed - 1)} of {limit} retries used"
        return _State(Status.PENDING, "Retrying", _join(used, _describe_ending(attempts, ending)))
    return _State(Status.PENDING, "Starting", "is admitted, but its pod is not created yet")


def _missed_deadline(job: Json) -> str:
    """Return why a run has missed its start deadline, as the dispatcher wrote it; empty: it has not missed it."""
    return cut((job["metadata"].get("annotations") or {}).get(labels.GAVE_UP_ANNOTATION))


def _state_of_waiting(waiting: WaitingReason | None, retry: str) -> _State:
    if waiting is None:
        return _State(Status.PENDING, "Starting", retry)
    status = Status.IMAGE_PULL_BACK_OFF if waiting.reason in _PULL_FAILURES else Status.PENDING
    return _State(status, waiting.reason, _join(waiting.message or waiting.reason, retry))


def _describe_ending(attempts: Sequence[Attempt], ending: Termination | None) -> str:
    """Say how the last failed pod or the last container ended; empty: the pods do not tell."""
    failed = next((attempt for attempt in reversed(attempts) if attempt.phase == "Failed"), None)
    if failed is not None and failed.ending is None and failed.trouble is not None:
        return _join(f"the last pod that failed: {failed.trouble.reason}", failed.trouble.message)
    if ending is None:
        return ""
    reason = f" ({ending.reason})" if ending.reason not in ("", "Error", "Completed") else ""
    return f"the container that ended last had exit code {ending.exit_code}{reason}"


def _count_attempts(status: Json, attempts: Sequence[Attempt]) -> int:
    """Count the pods of a run so far, also those that are gone, and the restarts of its container in existing pods."""
    counted = int(status.get("active") or 0) + int(status.get("succeeded") or 0) + _counted_failures(status)
    counted += len(_uncounted(status).get("succeeded") or ())
    return max(counted, len(attempts)) + sum(attempt.restarts for attempt in attempts)


def _count_failed(status: Json, attempts: Sequence[Attempt]) -> int:
    return max(_counted_failures(status), sum(attempt.phase == "Failed" for attempt in attempts))


def _counted_failures(status: Json) -> int:
    return int(status.get("failed") or 0) + len(_uncounted(status).get("failed") or ())


def _uncounted(status: Json) -> dict[str, Any]:
    """Return the uids of pods that have ended and are not in the counts yet, by how they ended.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
    """
    return status.get("uncountedTerminatedPods") or {}


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
