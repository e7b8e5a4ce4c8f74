"""A run as the caller sees it."""

from dataclasses import dataclass
from enum import StrEnum

from marshmallow import Schema, fields


class Status(StrEnum):
    """What a run is doing."""

    QUEUED = "Queued"
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run.

    Attributes:
        id: within its definition.
        name: of the Kubernetes Job.
        status: what it is doing.
        position_in_queue: from 1 on; -1 once it is admitted.
        in_queue_timestamp: when its call was accepted, Unix milliseconds.
        start_timestamp: when Kubernetes started it; -1: not yet.
        end_timestamp: when it ended; -1: not yet.
        message: why it waits or failed; empty where there is nothing to say.
    """

    id: str
    name: str
    status: Status
    position_in_queue: int = -1
    in_queue_timestamp: int
    start_timestamp: int = -1
    end_timestamp: int = -1
    message: str = ""


class AcceptedSchema(Schema):
    """The answer to `POST /job/<name>`."""

    id = fields.String(data_key="Id")
    name = fields.String(data_key="Name")
    status = fields.Constant(Status.QUEUED.value, data_key="Status")


class RunSchema(Schema):
    """The answer to `GET /job/<name>/<id>`."""

    id = fields.String(data_key="Id")
    name = fields.String(data_key="Name")
    status = fields.Enum(Status, by_value=True, data_key="Status")
    position_in_queue = fields.Integer(data_key="PositionInQueue")
    in_queue_timestamp = fields.Integer(data_key="InQueueTimestamp")
    start_timestamp = fields.Integer(data_key="StartTimestamp")
    end_timestamp = fields.Integer(data_key="EndTimestamp")
    message = fields.String(data_key="Message")
