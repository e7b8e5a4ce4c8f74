"""The responses about runs."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from marshmallow import Schema, fields

from schemas.definition import Amounts


class Status(StrEnum):
    """The status of a run."""

    QUEUED = "Queued"
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"


class Notification(StrEnum):
    """Whether the receiver that a definition names has been told of the end of a run."""

    NONE = ""
    """The run was made without one."""
    WAITING = "Waiting"
    """The run has not ended."""
    UNDELIVERED = "Undelivered"
    DELIVERED = "Delivered"
    GIVEN_UP = "GivenUp"
    """It could not be delivered in time, or too many waited."""
    NOT_WANTED = "NotWanted"
    """The definition does not want this outcome, or no notification any more."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a run's container.

    Attributes:
        requests: the resource requests by resource name, as Kubernetes stores them.
        limits: the resource limits by resource name, as Kubernetes stores them.
    """

    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run.

    Attributes:
        id: within its definition.
        name: the name of the Kubernetes Job.
        status: its status.
        reason: the reason for the status, one CamelCase word for programs; empty: none.
        message: the reason for people.
        position_in_queue: its position, from 1; -1: it is admitted.
        in_queue_timestamp: when its request was accepted, in Unix milliseconds.
        start_timestamp: when Kubernetes started it, in Unix milliseconds; -1: not yet.
        end_timestamp: when it ended, in Unix milliseconds; -1: not yet.
        queue_duration_milliseconds: from its acceptance to its start; -1: not started yet.
        run_duration_milliseconds: from its start to its end; -1: not ended yet.
        attempts: the number of its pods so far, plus the container restarts in the pods that still exist.
        exit_code: the exit code of the container that ended last; -1: none has ended, or the code is unknown.
        result: that container's termination message, at most 4 KiB of UTF-8.
        image: the image of its container.
        args: its arguments; `None`: the image's own.
        resources: the resources of its container.
        depends_on: its dependencies; `None`: its annotation is invalid.
        environments: the names of its environment variables, never their values.
        started_by: the user of the cluster who has started it; empty: its caller was not identified.
        schedule: the id of the schedule that it was made from; empty: none.
        notification: whether the receiver that its definition names has been told of its end; empty: there is none.
        truncated: the keys of the fields that are not shown whole, because the run is shown in a list.
    """

    id: str
    name: str
    status: Status
    reason: str = ""
    message: str = ""
    position_in_queue: int = -1
    in_queue_timestamp: int
    start_timestamp: int = -1
    end_timestamp: int = -1
    queue_duration_milliseconds: int = -1
    run_duration_milliseconds: int = -1
    attempts: int = 0
    exit_code: int = -1
    result: str = ""
    image: str
    args: tuple[str, ...] | None = None
    resources: Resources = field(default_factory=Resources)
    depends_on: tuple[str, ...] | None = ()
    environments: tuple[str, ...] = ()
    started_by: str = ""
    schedule: str = ""
    notification: Notification = Notification.NONE
    truncated: tuple[str, ...] = ()


class ResourcesSchema(Schema):
    """The `Resources` of a run."""

    requests = fields.Dict(fields.String(), fields.String(), data_key="Requests")
    limits = fields.Dict(fields.String(), fields.String(), data_key="Limits")


class RunSchema(Schema):
    """The response to `GET` and `DELETE /job/<name>/<id>`, and each item of the response to `GET /job/<name>`."""

    id = fields.String(data_key="Id")
    name = fields.String(data_key="Name")
    status = fields.Enum(Status, by_value=True, data_key="Status")
    reason = fields.String(data_key="Reason")
    message = fields.String(data_key="Message")
    position_in_queue = fields.Integer(data_key="PositionInQueue")
    in_queue_timestamp = fields.Integer(data_key="InQueueTimestamp")
    start_timestamp = fields.Integer(data_key="StartTimestamp")
    end_timestamp = fields.Integer(data_key="EndTimestamp")
    queue_duration_milliseconds = fields.Integer(data_key="QueueDurationMilliseconds")
    run_duration_milliseconds = fields.Integer(data_key="RunDurationMilliseconds")
    attempts = fields.Integer(data_key="Attempts")
    exit_code = fields.Integer(data_key="ExitCode")
    result = fields.String(data_key="Result")
    image = fields.String(data_key="Image")
    args = fields.List(fields.String(), allow_none=True, data_key="Args")
    resources = fields.Nested(ResourcesSchema, data_key="Resources")
    depends_on = fields.List(fields.String(), allow_none=True, data_key="DependsOn")
    environments = fields.List(fields.String(), data_key="Environments")
    started_by = fields.String(data_key="StartedBy")
    schedule = fields.String(data_key="Schedule")
    notification = fields.Enum(Notification, by_value=True, data_key="Notification")
    truncated = fields.List(fields.String(), data_key="Truncated")


class AcceptedSchema(RunSchema):
    """The run that `POST /job/<name>` has stored: after a wait all that `GET` shows, else `Id`, `Name` and `Status`."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Mark the fields that a response without a wait does not have."""
        super().on_bind_field(field_name, field_obj)
        if field_name not in ("id", "name", "status"):
            field_obj.metadata = {**field_obj.metadata, "optional": True}


class EmptiedSchema(Schema):
    """The response to `DELETE /job/<name>?status=Queued`."""

    deleted = fields.Integer(data_key="Deleted")
    remaining = fields.Integer(data_key="Remaining")
