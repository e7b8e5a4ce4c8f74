"""What a request may set in a run of a definition, as `GET /job/<name>/definition` returns it."""

from dataclasses import dataclass

from marshmallow import Schema, fields, validate

from schemas.definition import DEFAULT_BACKOFF_LIMIT, KUBERNETES_BACKOFF_LIMIT, Definition
from schemas.request import REQUEST_FIELDS
from schemas.run import Resources, ResourcesSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBoundsView:
    """The defaults and the bounds of a definition's runs, and what the caller may do. It holds no value of a variable.

    Attributes:
        name: the definition's name.
        visibility: `Public` or `Private`.
        source: `Configuration` or `CronJob`.
        number_parallel_job: the number of slots.
        max_queued: how many runs may be queued; `None`: the definition sets no limit.
        overridable: the fields that a request may set, sorted.
        image: the image of runs whose request names none.
        images_whitelist: the patterns of further images that a request may name.
        args: the arguments of runs whose request gives none; `None`: the image's own.
        resources: the resources of its runs, which requests may lower.
        depends_on: the dependencies of runs whose request names none.
        environments: the names of the definition's environment variables, never their values.
        environments_whitelist: the patterns of the variables that a request may set; empty: none; `None`: any that
            steers no loader, interpreter or tool.
        backoff_limit: the retries of runs whose request says nothing.
        max_backoff_limit: the most that a request may set.
        timeout_seconds: of runs whose request says nothing, and the most that one may set; `None`: no limit.
        pending_timeout_seconds: the same for the start.
        queue_timeout_seconds: the same for the queue.
        ttl_seconds_after_finished: the same for how long Kubernetes keeps a finished run.
        restart_policy: `Never` or `OnFailure`.
        queue: the LocalQueue of Kueue that runs are handed to; empty: none.
        priority: the WorkloadPriorityClass of runs whose request names none; empty: Kueue's default.
        priorities_whitelist: the others that a request may name.
        permitted: what the caller may do with every run and schedule, sorted.
        permitted_on_own: what the caller may do only with those that it has made itself, sorted.
    """

    name: str
    visibility: str
    source: str
    number_parallel_job: int
    max_queued: int | None
    overridable: tuple[str, ...]
    image: str
    images_whitelist: tuple[str, ...]
    args: tuple[str, ...] | None
    resources: Resources
    depends_on: tuple[str, ...]
    environments: tuple[str, ...]
    environments_whitelist: tuple[str, ...] | None
    backoff_limit: int
    max_backoff_limit: int
    timeout_seconds: int | None
    pending_timeout_seconds: int | None
    queue_timeout_seconds: int | None
    ttl_seconds_after_finished: int | None
    restart_policy: str
    queue: str
    priority: str
    priorities_whitelist: tuple[str, ...]
    permitted: tuple[str, ...]
    permitted_on_own: tuple[str, ...]


def read_bounds(
    definition: Definition, permitted: tuple[str, ...] = (), permitted_on_own: tuple[str, ...] = ()
) -> RequestBoundsView:
    """Read the bounds of a definition.

    Args:
        definition: the definition.
        permitted: what the caller may do with every run and schedule.
        permitted_on_own: what the caller may do only with those that it has made itself.
    """
    settable = definition.environments_whitelist
    return RequestBoundsView(
        name=definition.name,
        visibility=definition.visibility,
        source=definition.source,
        number_parallel_job=definition.number_parallel_job,
        max_queued=definition.max_queued,
        overridable=tuple(field for field in REQUEST_FIELDS if definition.can_set(field)),
        image=definition.image,
        images_whitelist=definition.images_whitelist,
        args=definition.args,
        resources=Resources(definition.requests, definition.limits),
        depends_on=definition.depends_on,
        environments=tuple(variable.name for variable in definition.environments),
        environments_whitelist=() if settable is None and definition.holds_secret else settable,
        backoff_limit=DEFAULT_BACKOFF_LIMIT if definition.backoff_limit is None else definition.backoff_limit,
        max_backoff_limit=KUBERNETES_BACKOFF_LIMIT if definition.backoff_limit is None else definition.backoff_limit,
        timeout_seconds=definition.timeout_seconds,
        pending_timeout_seconds=definition.pending_timeout_seconds,
        queue_timeout_seconds=definition.queue_timeout_seconds,
        ttl_seconds_after_finished=definition.ttl_seconds_after_finished,
        restart_policy=definition.restart_policy,
        queue=definition.queue or "",
        priority=definition.priority or "",
        priorities_whitelist=definition.priorities_whitelist,
        permitted=tuple(sorted(permitted)),
        permitted_on_own=tuple(sorted(permitted_on_own)),
    )


PERMITTED = (
    *("Cancel", "Empty", "List", "Read", "ReadLog", "Start"),
    *("ChangeSchedule", "CreateSchedule", "DeleteSchedule", "ListSchedules", "ReadSchedule"),
)
"""What a caller may do with the runs and schedules of a definition; `Empty` is the queue."""


def _permissions(data_key: str) -> fields.List[str]:
    return fields.List(fields.String(validate=validate.OneOf(PERMITTED)), data_key=data_key)


class RequestBoundsSchema(Schema):
    """The response to `GET /job/<name>/definition`."""

    name = fields.String(data_key="Name")
    visibility = fields.String(data_key="Visibility")
    source = fields.String(data_key="Source", validate=validate.OneOf(("Configuration", "CronJob")))
    number_parallel_job = fields.Integer(data_key="NumberParallelJob")
    max_queued = fields.Integer(allow_none=True, data_key="MaxQueued")
    overridable = fields.List(fields.String(), data_key="Overridable")
    image = fields.String(data_key="Image")
    images_whitelist = fields.List(fields.String(), data_key="ImagesWhitelist")
    args = fields.List(fields.String(), allow_none=True, data_key="Args")
    resources = fields.Nested(ResourcesSchema, data_key="Resources")
    depends_on = fields.List(fields.String(), data_key="DependsOn")
    environments = fields.List(fields.String(), data_key="Environments")
    environments_whitelist = fields.List(fields.String(), allow_none=True, data_key="EnvironmentsWhitelist")
    backoff_limit = fields.Integer(data_key="BackoffLimit")
    max_backoff_limit = fields.Integer(data_key="MaxBackoffLimit")
    timeout_seconds = fields.Integer(allow_none=True, data_key="TimeoutSeconds")
    pending_timeout_seconds = fields.Integer(allow_none=True, data_key="PendingTimeoutSeconds")
    queue_timeout_seconds = fields.Integer(allow_none=True, data_key="QueueTimeoutSeconds")
    ttl_seconds_after_finished = fields.Integer(allow_none=True, data_key="TtlSecondsAfterFinished")
    restart_policy = fields.String(data_key="RestartPolicy", validate=validate.OneOf(("Never", "OnFailure")))
    queue = fields.String(data_key="Queue")
    priority = fields.String(data_key="Priority")
    priorities_whitelist = fields.List(fields.String(), data_key="PrioritiesWhitelist")
    permitted = _permissions("Permitted")
    permitted_on_own = _permissions("PermittedOnOwn")
