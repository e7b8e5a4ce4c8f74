"""The status of a definition, as `GET /jobs/status` returns it."""

from dataclasses import dataclass

from marshmallow import Schema, fields, validate

from schemas.run import Resources, ResourcesSchema, Status
from schemas.schedule_view import SCHEDULE_SOURCES, ScheduleSource, ScheduleStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyView:
    """A dependency of a definition.

    Attributes:
        name: the name in the definition.
        kind: `Deployment`, `StatefulSet`, or both if both have the name; empty: there is neither.
        ready: whether this dependency lets a run start.
        ready_replicas: how many of its pods are ready.
        message: its counts, or why it is not ready.
    """

    name: str
    kind: str
    ready: bool
    ready_replicas: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJobView:
    """An active run, with SlimFaas' keys.

    Attributes:
        name: the name of the Kubernetes Job.
        status: `Running` once its container has started, else `Pending`, whatever keeps it from starting.
        element_id: its id.
        in_queue_timestamp: when its request was accepted, in Unix milliseconds.
        start_timestamp: when Kubernetes started it, in Unix milliseconds; -1: not yet.
    """

    name: str
    status: Status
    element_id: str
    in_queue_timestamp: int
    start_timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionScheduleView:
    """A schedule of a definition. Its id is told only by the list of schedules: it is the key to it.

    Attributes:
        status: whether it starts runs, as in the list of schedules; `Missing`: the configuration asks for it, and it
            has no CronJob.
        schedule: the cron expression.
        time_zone: of the cron expression.
        suspend: whether it is paused.
        source: `Configuration`; `CronJob`: the annotation of the CronJob that is its definition; or `Http`: a request.
        next_timestamp: when its next run is made, in Unix milliseconds; -1: it is paused, or there is no such time in
            the next five years.
    """

    status: ScheduleStatus
    schedule: str
    time_zone: str
    suspend: bool
    source: ScheduleSource
    next_timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionView:
    """A definition and its runs.

    Attributes:
        name: its name.
        visibility: `Public` or `Private`.
        image: the image of runs whose request names none.
        number_parallel_job: the number of slots.
        active_runs: how many runs hold a slot; may exceed the number of slots after that was lowered.
        queue_length: how many runs are queued.
        max_queued: how many may be queued; `None`: the definition sets no limit.
        overridable: the fields that a request may set, sorted.
        depends_on: the dependencies of runs whose request names none.
        source: `Configuration` or `CronJob`.
        images_whitelist: the patterns of further images that a request may name.
        resources: the resources of its runs, which requests may lower.
        schedules: its schedules, the next one first; of very many, only 100.
        running_jobs: the active runs, the oldest first; of many, only 100.
    """

    name: str
    visibility: str
    image: str
    number_parallel_job: int
    active_runs: int
    queue_length: int
    max_queued: int | None
    overridable: tuple[str, ...]
    depends_on: tuple[DependencyView, ...]
    source: str
    images_whitelist: tuple[str, ...]
    resources: Resources
    schedules: tuple[DefinitionScheduleView, ...] = ()
    running_jobs: tuple[RunningJobView, ...] = ()


class DependencySchema(Schema):
    """An entry of `DependsOn` of `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    kind = fields.String(data_key="Kind")
    ready = fields.Boolean(data_key="Ready")
    ready_replicas = fields.Integer(data_key="ReadyReplicas")
    message = fields.String(data_key="Message")


class RunningJobSchema(Schema):
    """An entry of `RunningJobs` of `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    status = fields.Enum(Status, by_value=True, data_key="Status")
    element_id = fields.String(data_key="ElementId")
    in_queue_timestamp = fields.Integer(data_key="InQueueTimestamp")
    start_timestamp = fields.Integer(data_key="StartTimestamp")


class DefinitionScheduleSchema(Schema):
    """An entry of `Schedules` of `GET /jobs/status`."""

    status = fields.Enum(ScheduleStatus, by_value=True, data_key="Status")
    schedule = fields.String(data_key="Schedule")
    time_zone = fields.String(data_key="TimeZone")
    suspend = fields.Boolean(data_key="Suspend")
    source = fields.String(data_key="Source", validate=validate.OneOf(SCHEDULE_SOURCES))
    next_timestamp = fields.Integer(data_key="NextTimestamp")


SHORT_FIELDS = ("name", "visibility", "number_parallel_job", "active_runs")
"""What every caller sees of a definition that it may use."""

_OPTIONAL = {"optional": True}


class DefinitionSchema(Schema):
    """An entry of the response to `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    visibility = fields.String(data_key="Visibility")
    image = fields.String(data_key="Image", metadata=_OPTIONAL)
    number_parallel_job = fields.Integer(data_key="NumberParallelJob")
    active_runs = fields.Integer(data_key="ActiveRuns")
    queue_length = fields.Integer(data_key="QueueLength", metadata=_OPTIONAL)
    max_queued = fields.Integer(allow_none=True, data_key="MaxQueued", metadata=_OPTIONAL)
    overridable = fields.List(fields.String(), data_key="Overridable", metadata=_OPTIONAL)
    depends_on = fields.List(fields.Nested(DependencySchema), data_key="DependsOn", metadata=_OPTIONAL)
    source = fields.String(data_key="Source", validate=validate.OneOf(("Configuration", "CronJob")), metadata=_OPTIONAL)
    images_whitelist = fields.List(fields.String(), data_key="ImagesWhitelist", metadata=_OPTIONAL)
    resources = fields.Nested(ResourcesSchema, data_key="Resources", metadata=_OPTIONAL)
    schedules = fields.List(fields.Nested(DefinitionScheduleSchema), data_key="Schedules", metadata=_OPTIONAL)
    running_jobs = fields.List(fields.Nested(RunningJobSchema), data_key="RunningJobs", metadata=_OPTIONAL)
