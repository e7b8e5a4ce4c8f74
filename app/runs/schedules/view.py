"""The view of a schedule: its CronJob, compared with the definition in force."""

from collections.abc import Collection
from datetime import UTC, datetime

from app.common.types import Json
from app.domain.names import cronjob_name, schedule_ids
from app.kube import labels
from app.kube.manifests import unescape
from app.kube.parsing import read_depends_on, read_time, started_by
from app.kube.schedule_records import describe_refusal
from app.kube.schedules import check_stored, read_origin, schedule_id_of
from schemas.cron import NotACronExpressionError, parse_cron
from schemas.definition import Definition
from schemas.definition_status import DefinitionScheduleView
from schemas.faults import Refused
from schemas.run import Resources
from schemas.run_container import run_container
from schemas.schedule_view import ScheduleStatus, ScheduleView
from schemas.time_zones import find_time_zone

_OTHER_BYTES = 900
"""What a schedule takes in a list beside the texts that vary, about."""


def build_schedule_view(cronjob: Json, definition: Definition, now: datetime) -> ScheduleView:
    """Make the view of a schedule.

    Args:
        cronjob: the schedule's.
        definition: in force.
        now: the time, for the next run.
    """
    spec, status = cronjob["spec"], cronjob.get("status") or {}
    template: Json = spec["jobTemplate"]
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    container = run_container(template["spec"]["template"], definition.name)
    resources: Json = container.get("resources") or {}
    args = container.get("args")
    suspended, is_requested = bool(spec.get("suspend")), read_origin(cronjob) == "http"
    refusal = _refusal(cronjob, definition) if is_requested else ""
    return ScheduleView(
        id=schedule_id_of(cronjob),
        name=definition.name,
        cron_job=cronjob["metadata"]["name"],
        status=ScheduleStatus.REFUSED if refusal else _status(cronjob, suspended),
        message=refusal,
        schedule=spec["schedule"],
        time_zone=spec.get("timeZone") or "",
        starting_deadline_seconds=spec.get("startingDeadlineSeconds"),
        concurrency_policy=spec.get("concurrencyPolicy") or "Allow",
        suspend=suspended,
        source="Http" if is_requested else definition.source,
        next_timestamp=_next_timestamp(cronjob, suspended, now),
        last_timestamp=_milliseconds(status.get("lastScheduleTime")),
        unfinished_runs=len(status.get("active") or ()),
        image=str(container.get("image") or ""),
        args=None if args is None else tuple(map(unescape, args)),
        resources=Resources(dict(resources.get("requests") or {}), dict(resources.get("limits") or {})),
        depends_on=read_depends_on(annotations.get(labels.DEPENDS_ON_ANNOTATION, "[]")),
        environments=tuple(variable["name"] for variable in container.get("env") or ()),
        started_by=started_by(cronjob),
    )


def summarize_schedule(cronjob: Json, now: datetime) -> DefinitionScheduleView:
    """Make the short view of a schedule that is shown with its definition.

    Args:
        cronjob: the schedule's. Anybody may have written its labels.
        now: the time, for the next run.
    """
    spec = cronjob["spec"]
    suspended = bool(spec.get("suspend"))
    return DefinitionScheduleView(
        status=_status(cronjob, suspended),
        schedule=spec["schedule"],
        time_zone=spec.get("timeZone") or "",
        suspend=suspended,
        source="Http" if read_origin(cronjob) == "http" else "Configuration",
        next_timestamp=_next_timestamp(cronjob, suspended, now),
    )


def list_missing(definition: Definition, existing: Collection[str]) -> list[DefinitionScheduleView]:
    """Return the schedules of a definition that have no CronJob.

    Args:
        definition: in force.
        existing: the names of the CronJobs of schedules.
    """
    ids = schedule_ids(definition.name, definition.schedules)
    return [
        DefinitionScheduleView(
            status=ScheduleStatus.MISSING,
            schedule=schedule.cron,
            time_zone=schedule.time_zone,
            suspend=bool(schedule.suspend),
            source=definition.source,
            next_timestamp=-1,
        )
        for schedule_id, schedule in zip(ids, definition.schedules, strict=True)
        if cronjob_name(definition.name, schedule_id) not in existing
    ]


def measure_schedule(view: ScheduleView) -> int:
    """Return about how many bytes a schedule takes in a list."""
    texts = (view.message, view.image, view.schedule, *(view.args or ()), *view.environments, *(view.depends_on or ()))
    return _OTHER_BYTES + 6 * sum(map(len, texts))  # as JSON, a character has up to six bytes, or twelve as two


def _status(cronjob: Json, suspended: bool) -> ScheduleStatus:
    """Return the status as far as the CronJob alone tells it."""
    marks = cronjob["metadata"].get("annotations") or {}
    if suspended:
        is_refused = labels.SCHEDULE_REFUSED_ANNOTATION in marks
        return ScheduleStatus.REFUSED if is_refused else ScheduleStatus.SUSPENDED
    return ScheduleStatus.EDITED if labels.SCHEDULE_EDITED_ANNOTATION in marks else ScheduleStatus.ACTIVE


def _refusal(cronjob: Json, definition: Definition) -> str:
    """Say why the definition does not allow any more what a schedule asks for; empty: it does."""
    try:
        check_stored(cronjob, definition)
    except Refused as refusal:
        return describe_refusal(refusal)
    return ""


def _next_timestamp(cronjob: Json, suspended: bool, now: datetime) -> int:
    """Return when the next run is made, in milliseconds since the epoch; -1: never."""
    next_run = None if suspended else _next_run(cronjob, int(now.timestamp()))
    return -1 if next_run is None else next_run * 1000


def _next_run(cronjob: Json, now: int) -> int | None:
    """Return when the CronJob controller makes the next run, in seconds since the epoch; `None`: never.

    The controller counts from the time of the last run, or else from the CronJob's creation. For a period (`@every`)
    this makes a difference.
    """
    spec, status = cronjob["spec"], cronjob.get("status") or {}
    zone = find_time_zone(spec.get("timeZone") or "") if spec.get("timeZone") else UTC
    try:
        cron = parse_cron(spec["schedule"])
    except NotACronExpressionError:
        return None
    if zone is None:
        return None
    if cron.every_seconds is None:
        return cron.next_after(now, zone)
    last = read_time(status.get("lastScheduleTime") or cronjob["metadata"].get("creationTimestamp"))
    since = now if last is None else min(now, last // 1_000_000)
    return since + ((now - since) // cron.every_seconds + 1) * cron.every_seconds


def _milliseconds(text: str | None) -> int:
    moment = read_time(text)
    return -1 if moment is None else moment // 1000
