"""The decisions of the CronJob controller: `pkg/controller/cronjob` of Kubernetes 1.37. Pure functions.

See https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from typing import Literal, NamedTuple

from devcluster.controllers.metadata import uid_of
from devcluster.kinds import CRON_JOB, JOB
from devcluster.objects import Object, clone, parse_time, to_time
from devcluster.validation.job_status import has_condition, is_finished
from schemas.cron import CronExpression, NotACronExpressionError, parse_cron
from schemas.time_zones import find_time_zone

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_PADDING_SECONDS = 0.1  # for clocks that differ a little
_MANY = 100


class Event(NamedTuple):
    """An event on the CronJob."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass
class Plan:
    """One step: what to delete, the tick to create a Job for, and the status to write if all of it succeeds.

    Attributes:
        status: without the Job to create; see `record_start`.
        delete: finished Jobs beyond the history limits, then the active ones that are replaced.
        tick: of the Job to create, in seconds since the epoch; `None`: create none.
        events: to record.
        requeue_after_seconds: when to look again; `None`: at the next change.
    """

    status: Object
    delete: list[Object] = field(default_factory=list)
    tick: int | None = None
    events: list[Event] = field(default_factory=list)
    requeue_after_seconds: float | None = None


def reconcile(cron_job: Object, jobs: Sequence[Object], now: datetime) -> Plan:
    """Decide the next step for a CronJob and the Jobs that it controls."""
    spec, plan = cron_job["spec"], Plan(clone(cron_job.get("status") or {}))
    plan.delete = [*_surplus(jobs, "Complete", spec.get("successfulJobsHistoryLimit")),
                   *_surplus(jobs, "Failed", spec.get("failedJobsHistoryLimit"))]  # fmt: skip
    _update_status(plan, jobs)
    if cron_job["metadata"].get("deletionTimestamp"):
        return plan
    zone = find_time_zone(spec["timeZone"]) if "timeZone" in spec else UTC
    if zone is None:
        plan.events.append(Event("Warning", "UnknownTimeZone", f'invalid timeZone: "{spec["timeZone"]}"'))
        return plan
    if spec.get("suspend"):
        return plan
    try:
        expression = parse_cron(spec["schedule"])
    except NotACronExpressionError as error:
        plan.events.append(
            Event("Warning", "UnparseableSchedule", f'unparseable schedule: "{spec["schedule"]}" : {error}')
        )
        return plan
    _choose_tick(cron_job, jobs, plan, expression, zone, now.timestamp())
    return plan


def _surplus(jobs: Sequence[Object], condition: str, limit: int | None) -> list[Object]:
    """Return the Jobs with a condition beyond the limit, those that started first."""
    ended = [job for job in jobs if has_condition(job, condition)]
    ended.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "~", job["metadata"]["name"]))
    return [] if limit is None else ended[: max(0, len(ended) - limit)]


def _update_status(plan: Plan, jobs: Sequence[Object]) -> None:
    """Remove the finished and missing Jobs from the active ones, and note when one succeeded last."""
    by_uid = {uid_of(job): job for job in jobs}
    removed = {uid_of(job) for job in plan.delete}
    active = [one for one in plan.status.pop("active", None) or () if one.get("uid") not in removed]
    listed = {reference.get("uid") for reference in active}
    for uid, job in by_uid.items():
        name, status = job["metadata"]["name"], job.get("status") or {}
        if not is_finished(job):
            if uid not in listed:
                message = f"Saw a job that the controller did not create or forgot: {name}"
                plan.events.append(Event("Warning", "UnexpectedJob", message))
            continue
        succeeded = has_condition(job, "Complete")
        if uid in listed:
            condition = "Complete" if succeeded else "Failed"
            plan.events.append(Event("Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: {condition}"))
        if succeeded and (completed := status.get("completionTime")):
            plan.status["lastSuccessfulTime"] = max(completed, plan.status.get("lastSuccessfulTime") or "")
    for reference in active:
        if reference.get("uid") not in by_uid:
            plan.events.append(Event("Normal", "MissingJob", f"Active job went missing: {reference.get('name')}"))
    going = {uid for uid, job in by_uid.items() if not is_finished(job)}
    _set_active(plan.status, [one for one in active if one.get("uid") in going])


def _set_active(status: Object, active: list[Object]) -> None:
    status.pop("active", None)
    if active:
        status["active"] = active


def _choose_tick(
    cron_job: Object, jobs: Sequence[Object], plan: Plan, expression: CronExpression, zone: tzinfo, now: float
) -> None:
    spec = cron_job["spec"]
    deadline = spec.get("startingDeadlineSeconds")
    earliest = _earliest(cron_job, plan.status)
    try:
        recent = _find_recent(
            max(earliest, now - deadline) if deadline is not None else earliest, now, expression, zone
        )
    except ValueError as error:
        plan.events.append(Event("Warning", "InvalidSchedule", f"invalid schedule: {spec['schedule']} : {error}"))
        return
    plan.requeue_after_seconds = seconds_until_next(cron_job, plan.status, now)
    if recent.tick is None:
        return
    if recent.missed > _MANY:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        plan.events.append(Event("Warning", "TooManyMissedTimes", message))
    active: list[Object] = plan.status.get("active") or []
    if deadline is not None and recent.tick + deadline < now:
        at = format_datetime(datetime.fromtimestamp(recent.tick, UTC)).replace("+0000", "UTC")
        plan.events.append(Event("Warning", "MissSchedule", f"Missed scheduled time to start a job: {at}"))
    elif any(one["name"] == job_name(cron_job, recent.tick) for one in active) or recent.tick == _last_tick(
        plan.status
    ):
        pass  # it has its Job
    elif spec["concurrencyPolicy"] == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        plan.events.append(Event("Normal", "JobAlreadyActive", message))
    else:
        plan.tick = recent.tick
        if spec["concurrencyPolicy"] == "Replace":
            uids = {one["uid"] for one in active}
            plan.delete += [job for job in jobs if uid_of(job) in uids]
            _set_active(plan.status, [])


class _Recent(NamedTuple):
    tick: int | None
    missed: int


def _find_recent(earliest: float, now: float, expression: CronExpression, zone: tzinfo) -> _Recent:
    """Return the most recent tick after `earliest`, and about how many there have been.

    Raises:
        ValueError: the expression has no two different times.
    """
    first = expression.next_after(int(earliest), zone)
    second = None if first is None else expression.next_after(first, zone)
    if first is not None and now < first:
        return _Recent(None, 0)
    if first is None or second is None:
        raise ValueError("time difference between two schedules is less than 1 second")
    if now < second:
        return _Recent(first, 0)
    period = second - first
    missed = int(now - first) // period + 1
    recent, tick = None, expression.next_after(first + (missed - 2) * period, zone)
    while tick is not None and tick <= now:
        recent, tick = tick, expression.next_after(tick, zone)
    return _Recent(recent, missed)


def _last_tick(status: Object) -> int | None:
    time = status.get("lastScheduleTime")
    return None if not time else int(parse_time(time).timestamp())


def _earliest(cron_job: Object, status: Object) -> float:
    last = _last_tick(status)
    return float(last) if last is not None else parse_time(cron_job["metadata"]["creationTimestamp"]).timestamp()


def seconds_until_next(cron_job: Object, status: Object, now: float) -> float | None:
    """Return the seconds until the tick after the most recent one; `None`: there is none."""
    zone = find_time_zone(cron_job["spec"].get("timeZone", "UTC"))
    assert zone is not None
    expression, earliest = parse_cron(cron_job["spec"]["schedule"]), _earliest(cron_job, status)
    try:
        tick, missed = _find_recent(earliest, now, expression, zone)
        base = tick if tick is not None else now if missed else earliest
    except ValueError:
        base = now
    found = expression.next_after(int(base), zone)
    return None if found is None else found - now + _PADDING_SECONDS


def job_name(cron_job: Object, tick: int) -> str:
    """Return the name of the Job of a tick: that of the CronJob, and the minutes since the epoch."""
    return f"{cron_job['metadata']['name']}-{tick // 60}"


def make_job(cron_job: Object, tick: int) -> Object:
    """Build the Job of a tick."""
    template, metadata = clone(cron_job["spec"]["jobTemplate"]), cron_job["metadata"]
    given = template.get("metadata") or {}
    zone = find_time_zone(cron_job["spec"].get("timeZone", "UTC"))
    at = datetime.fromtimestamp(tick, zone).isoformat()
    owner = {
        "apiVersion": CRON_JOB.api_version,
        "kind": CRON_JOB.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "name": job_name(cron_job, tick),
            "namespace": metadata["namespace"],
            "labels": given.get("labels") or {},
            "annotations": {**(given.get("annotations") or {}), SCHEDULED_AT: at.replace("+00:00", "Z")},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def record_start(status: Object, job: Object, tick: int) -> Object:
    """Return the status after a Job was created for a tick."""
    metadata = job["metadata"]
    reference = {
        "kind": JOB.kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": JOB.api_version,
        "resourceVersion": metadata["resourceVersion"],
    }
    return {
        **status,
        "active": [*(status.get("active") or ()), reference],
        "lastScheduleTime": to_time(datetime.fromtimestamp(tick, UTC)),
    }
