"""The responses about schedules, and the body that pauses or resumes one."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args

from marshmallow import Schema, fields, validate

from schemas.run import Resources, ResourcesSchema

ScheduleSource = Literal["Configuration", "CronJob", "Http"]

SCHEDULE_SOURCES = get_args(ScheduleSource)


class ScheduleStatus(StrEnum):
    """Whether a schedule starts runs."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    REFUSED = "Refused"
    """Its definition does not allow any more what it asks for."""
    EDITED = "Edited"
    """It starts runs, but not as it was asked for: somebody has edited its CronJob."""
    MISSING = "Missing"
    """The configuration asks for it, and it has no CronJob: it is not made yet, or the log says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """One schedule.

    Attributes:
        id: within its definition.
        name: the name of the definition.
        cron_job: the name of the Kubernetes CronJob.
        status: whether it starts runs: `Active`; `Edited`: it does, but somebody has edited its CronJob; `Suspended`:
            it is paused; `Refused`: its definition does not allow any more what it asks for.
        message: why it is refused; else empty.
        schedule: the cron expression.
        time_zone: of the cron expression.
        starting_deadline_seconds: how late a run may be made that could not be made in time; `None`: however late.
        concurrency_policy: what happens at a time when an earlier run of the schedule is not finished.
        suspend: whether it is paused.
        source: `Configuration`; `CronJob`: the annotation of the CronJob that is its definition; or `Http`: a request.
        next_timestamp: when its next run is made, in Unix milliseconds; -1: it is paused, or there is no such time in
            the next five years.
        last_timestamp: for which time its last run was made, in Unix milliseconds; -1: none has been.
        unfinished_runs: how many of its runs are queued or active.
        image: the image of its runs.
        args: the arguments of its runs; `None`: the image's own.
        resources: the resources of its runs.
        depends_on: the dependencies of its runs.
        environments: the names of the environment variables of its runs, never their values.
        started_by: the user of the cluster who has made it; empty: its caller was not identified.
        truncated: the keys of the fields that are not shown whole, because the schedule is shown in a list.
    """

    id: str
    name: str
    cron_job: str
    status: ScheduleStatus = ScheduleStatus.ACTIVE
    message: str = ""
    schedule: str
    time_zone: str
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    source: ScheduleSource = "Http"
    next_timestamp: int = -1
    last_timestamp: int = -1
    unfinished_runs: int = 0
    image: str = ""
    args: tuple[str, ...] | None = None
    resources: Resources = field(default_factory=Resources)
    depends_on: tuple[str, ...] | None = ()
    environments: tuple[str, ...] = ()
    started_by: str = ""
    truncated: tuple[str, ...] = ()


class ScheduleViewSchema(Schema):
    """The response to `GET` and `PATCH /job-schedules/<name>/<id>`, and each item of a list."""

    id = fields.String(data_key="Id")
    name = fields.String(data_key="Name")
    cron_job = fields.String(data_key="CronJob")
    status = fields.Enum(ScheduleStatus, by_value=True, data_key="Status")
    message = fields.String(data_key="Message")
    schedule = fields.String(data_key="Schedule")
    time_zone = fields.String(data_key="TimeZone")
    starting_deadline_seconds = fields.Integer(allow_none=True, data_key="StartingDeadlineSeconds")
    concurrency_policy = fields.String(
        data_key="ConcurrencyPolicy", validate=validate.OneOf(("Allow", "Forbid", "Replace"))
    )
    suspend = fields.Boolean(data_key="Suspend")
    source = fields.String(data_key="Source", validate=validate.OneOf(SCHEDULE_SOURCES))
    next_timestamp = fields.Integer(data_key="NextTimestamp")
    last_timestamp = fields.Integer(data_key="LastTimestamp")
    unfinished_runs = fields.Integer(data_key="UnfinishedRuns")
    image = fields.String(data_key="Image")
    args = fields.List(fields.String(), allow_none=True, data_key="Args")
    resources = fields.Nested(ResourcesSchema, data_key="Resources")
    depends_on = fields.List(fields.String(), allow_none=True, data_key="DependsOn")
    environments = fields.List(fields.String(), data_key="Environments")
    started_by = fields.String(data_key="StartedBy")
    truncated = fields.List(fields.String(), data_key="Truncated")


@dataclass(frozen=True, slots=True)
class CreatedSchedule:
    """A schedule that is stored.

    Attributes:
        id: the schedule's id within its definition.
        fields: the names of the fields that the request overrides, for the log.
        replayed: whether an earlier request with the same Idempotency-Key has stored it.
    """

    id: str
    fields: tuple[str, ...] = ()
    replayed: bool = False


class CreatedScheduleSchema(Schema):
    """The response to `POST /job-schedules/<name>`."""

    id = fields.String(data_key="Id")
