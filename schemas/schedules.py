"""Schedules: what a definition's runs are made from at fixed times, by Kubernetes' own clock.

A schedule is a request with a cron expression. It is checked like one: what a request may not ask for, a schedule may
not either. The same checks serve the configuration, the annotation of a CronJob, and a request that makes a schedule.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from marshmallow import ValidationError, validate

from schemas.cron import NotACronExpressionError, parse_cron
from schemas.definition import Definition
from schemas.faults import Fault, Refused, pointer_to
from schemas.merge import RunSpec, merge
from schemas.request import Request, RequestSchema, build_request, load_fields, parse_object
from schemas.strict import Count, Flag, Text
from schemas.time_zones import find_time_zone

ConcurrencyPolicy = Literal["Allow", "Forbid", "Replace"]

DEFAULT_TIME_ZONE = "Etc/UTC"
"""The time zone of schedules that name none. Kubernetes' own default is that of its controller's host."""

MIN_DEADLINE_SECONDS = 10
"""With fewer, Kubernetes may start no run at all:
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#starting-deadline"""

MAX_SCHEDULES = 100
"""How many schedules a definition may have."""

_MAX_CRON_LENGTH = 512
_MAX_ZONE_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Schedule:
    """When runs of a definition are started, and with which request.

    Attributes:
        cron: a cron expression that Kubernetes accepts.
        request: the changes to the definition for these runs.
        time_zone: of the cron expression, in the IANA database.
        starting_deadline_seconds: how late a run may be made that could not be made in time; `None`: however late.
        concurrency_policy: what happens at a time when an earlier run of the schedule is not finished: it is started
            all the same, left out, or replaces the earlier one. `None`: not said, which means `Allow`.
        suspend: whether no runs are made; `None`: not said, so that a person may decide.
        text: the schedule as JSON, as it was given.
    """

    cron: str
    request: Request
    time_zone: str = DEFAULT_TIME_ZONE
    starting_deadline_seconds: int | None = None
    concurrency_policy: ConcurrencyPolicy | None = None
    suspend: bool | None = None
    text: str = ""


def _check_cron(text: str) -> None:
    if "TZ=" in text:
        raise ValidationError("the time zone is a field of its own, TimeZone")
    if len(text) > _MAX_CRON_LENGTH:
        raise ValidationError(f"must have at most {_MAX_CRON_LENGTH} characters")
    try:
        parse_cron(text)
    except NotACronExpressionError as error:
        raise ValidationError(f"not a cron expression: {error}") from None


def _check_time_zone(name: str) -> None:
    if len(name) > _MAX_ZONE_LENGTH or (name and find_time_zone(name) is None):
        raise ValidationError("not a time zone of the IANA database; write it like Europe/Paris")


class _Deadline(Count):
    minimum: ClassVar = MIN_DEADLINE_SECONDS
    json_schema: ClassVar = {**Count.json_schema, "minimum": minimum}


class ScheduleSchema(RequestSchema):
    """The body of `POST /job-schedules/<name>`, and an entry of `Schedules`: a request and when it is sent."""

    cron = Text(
        data_key="Schedule",
        required=True,
        validate=_check_cron,
        metadata={
            "description": "Cron expression: minute, hour, day of month, month, day of week, as Kubernetes reads it.",
            "maxLength": _MAX_CRON_LENGTH,
        },
    )
    time_zone = Text(
        data_key="TimeZone",
        validate=_check_time_zone,
        metadata={
            "description": f"Time zone of Schedule in the IANA database. Absent or empty: {DEFAULT_TIME_ZONE}.",
            "maxLength": _MAX_ZONE_LENGTH,
        },
    )
    starting_deadline_seconds = _Deadline(data_key="StartingDeadlineSeconds")
    concurrency_policy = Text(
        data_key="ConcurrencyPolicy",
        validate=validate.OneOf(get_args(ConcurrencyPolicy), error="must be one of {choices}"),
    )
    suspend = Flag(data_key="Suspend")


_SCHEMA = ScheduleSchema()

_OWN_FIELDS = ("cron", "time_zone", "starting_deadline_seconds", "concurrency_policy", "suspend")

SCHEDULE_FIELDS = tuple(sorted(str(declared.data_key) for declared in _SCHEMA.fields.values()))
"""The names of the fields of a schedule, sorted."""


def read_schedule(body: bytes) -> tuple[Schedule, list[Fault]]:
    """Parse the body of a request that makes a schedule as far as possible; see `load_schedule`.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: the body is JSON, but not an object.
    """
    value, faults = parse_object(body)
    schedule, more_faults = load_schedule(value)
    return schedule, [*faults, *more_faults]


def load_schedule(value: dict[str, Any]) -> tuple[Schedule, list[Fault]]:
    """Read a schedule as far as possible, so that `check_schedule` can report its faults together with these.

    Returns:
        The schedule without its faulty fields, and the faults. With faults it is only good for `check_schedule`.
    """
    loaded, faults = load_fields(_SCHEMA, value)
    own = {name: loaded[name] for name in _OWN_FIELDS if loaded.get(name) not in (None, "")}
    request = build_request({name: field for name, field in loaded.items() if name not in _OWN_FIELDS})
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Schedule(**{"cron": "", **own}, request=request, text=text), faults


def check_schedule(definition: Definition, schedule: Schedule, faults_before: Iterable[Fault] = ()) -> RunSpec:
    """Merge a schedule into its definition.

    Args:
        definition: what the schedule's runs are runs of.
        schedule: to check.
        faults_before: the faults from `load_schedule`, to be reported together with those found here.

    Returns:
        What each run of the schedule is made of.

    Raises:
        Refused: there are faults, or the schedule asks for something that the definition does not allow.
    """
    return merge(definition, schedule.request, faults_before)


def read_requested_schedule(definition: Definition, body: bytes) -> tuple[Schedule, RunSpec]:
    """Read the body of a request that makes a schedule, and merge it into its definition.

    Anyone may make schedules of a public definition, and the clock's runs are not refused when the queue is full. So of
    each such schedule one run at a time is queued or active: without a `ConcurrencyPolicy` it is `Forbid`.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: there are faults, or the schedule asks for something that the definition does not allow.
    """
    schedule, faults = read_schedule(body)
    if definition.visibility == "Public":
        if schedule.concurrency_policy == "Allow":
            faults.append(Fault(pointer_to("ConcurrencyPolicy"), _PILES_UP))
        schedule = replace(schedule, concurrency_policy=schedule.concurrency_policy or "Forbid")
    return schedule, check_schedule(definition, schedule, faults)


_PILES_UP = (
    "this definition is public, so its runs must not pile up whatever becomes of them: a schedule that a request makes "
    "says Forbid or Replace"
)


def read_schedules(definition: Definition, entries: Sequence[Any]) -> tuple[tuple[Schedule, ...], list[Fault]]:
    """Read and check the schedules of a definition.

    Args:
        definition: what their runs are runs of.
        entries: the list, as parsed JSON.

    Returns:
        The schedules, and the faults, whose pointers begin at the list. With faults, the schedules are of no use.
    """
    if len(entries) > MAX_SCHEDULES:
        return (), [Fault("", f"must have at most {MAX_SCHEDULES} items")]
    schedules: list[Schedule] = []
    faults: list[Fault] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            faults.append(Fault(pointer_to(index), "must be an object"))
            continue
        schedule, found = load_schedule(entry)
        try:
            check_schedule(definition, schedule, found)
        except Refused as refusal:
            faults += [Fault(pointer_to(index) + fault.pointer, fault.message) for fault in refusal.faults]
        schedules.append(schedule)
    return tuple(schedules), faults
