"""The status of a run, and the reason for it: a pure view of its Job, its attempts and why it is queued.

The Job decides what is true of a run. Its pods add details for as long as they exist. When they are gone, the view has
fewer details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.common.types import Json
from app.domain.attempt import (
    CREATING,
    FAILED_CREATE,
    IMAGE_ERRORS,
    INITIALIZING,
    OOM_KILLED,
    Attempt,
    Termination,
    WaitingReason,
    sort_attempts,
)
from app.domain.names import id_in
from app.domain.run import Phase, Run
from app.domain.run_end import PENDING_TIMEOUT, QUEUE_TIMEOUT
from app.kube import labels
from app.kube.attempts import cut
from app.kube.manifests import unescape
from app.kube.parsing import (
    find_condition,
    is_ended_in_queue,
    is_gated,
    is_in_another_cluster,
    may_end_in_queue,
    read_notification,
    read_reason,
    read_run,
    read_time,
    schedule_of,
    started_by,
    terminal_condition,
)
from app.runs.kueue_status import KueueStatus, explain_silence
from schemas.run import Resources, RunView, Status
from schemas.run_container import run_container

ADMITTED_STATUSES = frozenset({Status.PENDING, Status.RUNNING, Status.IMAGE_PULL_BACK_OFF})
"""The statuses of an admitted run; its pods tell which one it has."""

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


def awaits_pod_since(view: RunView, job: Json, attempts: Sequence[Attempt]) -> int | None:
    """Return since when Kubernetes should have created a pod for an admitted run.

    Args:
        view: of the run, made of this Job and these attempts.
        job: the run's.
        attempts: in any order.

    Returns:
        Microseconds since the epoch; `None`: the run doesn't wait for a pod, or its attempts are gone, so that nobody
        knows since when it waits.
    """
    if view.status is not Status.PENDING or view.reason not in ("Starting", "Retrying"):
        return None
    if not attempts:
        return read_time((job.get("status") or {}).get("startTime")) if view.attempts == 0 else None
    last = sort_attempts(list(attempts))[-1]
    # Times of pods are whole seconds: what was refused within that second may have come before this pod.
    return last.created_at + 1_000_000 if last.phase == "Failed" else None


def awaits_volumes(view: RunView, attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt at an admitted run whose volumes may not be mounted; `None`: there is none.

    Args:
        view: of the run, made of these attempts.
        attempts: in any order.
    """
    if not attempts or view.status is not Status.PENDING or view.reason not in ("Starting", CREATING, INITIALIZING):
        return None
    last = sort_attempts(list(attempts))[-1]
    return last if last.may_await_volumes else None


def build_view(
    job: Json,
    pods: Sequence[Attempt] = (),
    waiting: QueuedStatus | None = None,
    pod_refusal: str = "",
    kueue: KueueStatus | None = None,
) -> RunView:
    """Make the view of a run.

    Args:
        job: the run's.
        pods: attempts in any order. Those of other Jobs, such as an earlier one of the same name, are ignored.
        waiting: why the run waits, if it is queued.
        pod_refusal: why the pod that the run waits for could not be created; empty: nothing is known.
        kueue: why Kueue does not let it run, if it is with Kueue.
    """
    run = read_run(job)
    attempts = sort_attempts([pod for pod in pods if pod.owner == run.uid])
    ending = next((attempt.ending for attempt in reversed(attempts) if attempt.ending), None)
    state = _state(job, run, attempts, ending, waiting, pod_refusal, kueue)
    status: Json = job.get("status") or {}
    container = run_container(job["spec"]["template"], run.definition)
    resources: Json = container.get("resources") or {}
    args = container.get("args")
    # Kubernetes says that a run which was ended in the queue has started, because it is not suspended any more.
    started = -1 if is_ended_in_queue(job) else _milliseconds(status.get("startTime"))
    ended = _milliseconds(status.get("completionTime") or (terminal_condition(job) or {}).get("lastTransitionTime"))
    queued = run.queued_at // 1000
    return RunView(
        id=id_in(run.definition, run.name),
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
        started_by=started_by(job),
        schedule=schedule_of(job),
        notification=read_notification(job),
    )


def _milliseconds(text: str | None) -> int:
    moment = read_time(text)
    return -1 if moment is None else moment // 1000


def _state(
    job: Json,
    run: Run,
    attempts: Sequence[Attempt],
    ending: Termination | None,
    waiting: QueuedStatus | None,
    pod_refusal: str,
    kueue: KueueStatus | None,
) -> _State:
    if run.phase is Phase.FINISHED:
        return _finished_state(job, run, attempts, ending)
    if run.phase is Phase.QUEUED:
        message = _join(waiting.message if waiting else "", _describe_lost_timeout(job))
        return _State(Status.QUEUED, waiting.reason if waiting else "", message)
    if run.awaits_kueue:
        state = _State(Status.PENDING, *(kueue or explain_silence(run.local_queue)))
    else:
        state = _admitted_state(job, attempts, ending, pod_refusal)
    if "deletionTimestamp" in job["metadata"]:
        return _State(state.status, "Deleting", "is being deleted; it holds its slot until its pod is gone")
    return state


def _finished_state(job: Json, run: Run, attempts: Sequence[Attempt], ending: Termination | None) -> _State:
    ended = terminal_condition(job)
    if is_ended_in_queue(job) and (ended is None or ended["type"] == "Failed"):
        why = cut(job["metadata"]["annotations"][labels.QUEUE_TIMED_OUT_ANNOTATION])
        if ended is None:
            return _State(Status.QUEUED, QUEUE_TIMEOUT, _join("is being ended", why))
        return _State(Status.FAILED, QUEUE_TIMEOUT, why)
    if ended is None and run.local_queue and not is_gated(job):
        return _State(Status.PENDING, "Deleting", "is being deleted; Kueue has not started it, or has stopped it")
    if ended is None:
        return _State(Status.QUEUED, "Deleting", "is being deleted before it started")
    if ended["type"] == "Complete":
        return _State(Status.SUCCEEDED, *_describe_lost_process(ending))
    if (why := _missed_deadline(job)) and ended.get("reason") == "DeadlineExceeded":
        return _State(Status.FAILED, PENDING_TIMEOUT, why)
    message = _join(cut(ended.get("message")), _describe_ending(attempts, ending))
    return _State(Status.FAILED, read_reason(ended.get("reason")) or "Failed", message)


def _describe_lost_timeout(job: Json) -> str:
    """Say that a queued run has a time limit that is not enforced; empty: it has none, or the limit is enforced."""
    has_timeout = labels.QUEUE_TIMEOUT_ANNOTATION in (job["metadata"].get("annotations") or {})
    if not has_timeout or may_end_in_queue(job):
        return ""
    return "its QueueTimeoutSeconds has no effect, because Kueue manages it"


def _admitted_state(job: Json, attempts: Sequence[Attempt], ending: Termination | None, pod_refusal: str) -> _State:
    """Return the state of an admitted run. While retries remain, a failed attempt does not make it a failed run."""
    if why := _missed_deadline(job):
        return _State(Status.PENDING, PENDING_TIMEOUT, _join("is being ended", why))
    if is_in_another_cluster(job) and (job.get("status") or {}).get("startTime"):
        return _State(Status.RUNNING, "", "was started in another cluster by Kueue; its pod and its log are there")
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
        return _state_of_last(last, retry, _describe_ending(attempts, ending))
    failed = _count_failed(status_of_job, attempts)
    if failed > limit:
        return _State(Status.RUNNING, "Ending", _join("no retry is left", _describe_ending(attempts, ending)))
    used = f"waits for a retry: {max(0, failed - 1)} of {limit} retries used" if failed else ""
    if pod_refusal:
        refused = f"its pod could not be created, and Kubernetes tries again: {pod_refusal}"
        return _State(Status.PENDING, FAILED_CREATE, _join(refused, used, _describe_ending(attempts, ending)))
    if failed:
        return _State(Status.PENDING, "Retrying", _join(used, _describe_ending(attempts, ending)))
    return _State(Status.PENDING, "Starting", "is admitted, but its pod is not created yet")


def _state_of_last(attempt: Attempt, retry: str, before: str) -> _State:
    """Return the state of a run whose last pod has not ended.

    Args:
        attempt: the pod.
        retry: which retry it is; empty: the first attempt.
        before: how an earlier container ended; empty: none has.
    """
    if attempt.running and attempt.other_failure is not None:
        return _State(Status.RUNNING, attempt.other_failure.reason, _join(attempt.other_failure.message, retry, before))
    if attempt.running:
        return _State(Status.RUNNING, "Retrying" if retry else "", _join(retry, before))
    if attempt.over:
        return _state_after_end(attempt)
    is_silent = attempt.waiting_reason is None and not attempt.has_started
    silence = "its pod exists, but neither a scheduler nor a node has said what it waits for" if is_silent else ""
    return _state_of_waiting(attempt.waiting_reason, _join(silence, retry, before))


def _state_after_end(attempt: Attempt) -> _State:
    """Return the state of a run whose container has ended and is not restarted, although its pod has not ended."""
    ended = "" if attempt.ending is None else f"its container has ended with exit code {attempt.ending.exit_code}"
    failure = "" if attempt.other_failure is None else attempt.other_failure.message
    if attempt.waiting_reason is None:
        return _State(Status.RUNNING, "Ending", _join("its last pod is being ended", ended, failure))
    goes_on = attempt.waiting_reason.message
    message = _join(ended, goes_on, failure if failure != goes_on else "")
    return _State(Status.RUNNING, attempt.waiting_reason.reason, message)


def _describe_lost_process(ending: Termination | None) -> tuple[str, str]:
    """Return reason and message of a run that succeeded, although its memory ran out; empty: it did not."""
    if ending is None or ending.reason != OOM_KILLED:
        return "", ""
    return OOM_KILLED, "a process in its container was killed because memory ran out; the result may be incomplete"


def _missed_deadline(job: Json) -> str:
    """Return why a run has missed its start deadline, as the dispatcher wrote it; empty: it has not missed it."""
    return cut((job["metadata"].get("annotations") or {}).get(labels.GAVE_UP_ANNOTATION))


def _state_of_waiting(waiting: WaitingReason | None, retry: str) -> _State:
    if waiting is None:
        return _State(Status.PENDING, "Starting", retry)
    status = Status.IMAGE_PULL_BACK_OFF if waiting.reason in IMAGE_ERRORS else Status.PENDING
    return _State(status, waiting.reason, _join(waiting.message or waiting.reason, retry))


def _describe_ending(attempts: Sequence[Attempt], ending: Termination | None) -> str:
    """Say how the last failed pod and the last container ended; empty: the pods do not tell."""
    failed = next((attempt for attempt in reversed(attempts) if attempt.phase == "Failed"), None)
    why = ""
    if failed is not None and (reason := failed.failure or (None if failed.ending else failed.waiting_reason)):
        why = _join(f"the last pod that failed: {reason.reason}", reason.message)
    if ending is None or (why and failed is not None and failed.ending is None):
        return why
    reason_word = f" ({ending.reason})" if ending.reason not in ("", "Error", "Completed") else ""
    return _join(why, f"the container that ended last had exit code {ending.exit_code}{reason_word}")


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
