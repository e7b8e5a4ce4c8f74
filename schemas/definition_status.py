"""The status of a definition, as `GET /jobs/status` returns it."""

from dataclasses import dataclass

from marshmallow import Schema, fields


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
        depends_on: the dependencies of runs whose request names none.
    """

    name: str
    visibility: str
    image: str
    number_parallel_job: int
    active_runs: int
    queue_length: int
    max_queued: int | None
    depends_on: tuple[DependencyView, ...]


class DependencySchema(Schema):
    """An entry of `DependsOn` of `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    kind = fields.String(data_key="Kind")
    ready = fields.Boolean(data_key="Ready")
    ready_replicas = fields.Integer(data_key="ReadyReplicas")
    message = fields.String(data_key="Message")


class DefinitionSchema(Schema):
    """An entry of the response to `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    visibility = fields.String(data_key="Visibility")
    image = fields.String(data_key="Image")
    number_parallel_job = fields.Integer(data_key="NumberParallelJob")
    active_runs = fields.Integer(data_key="ActiveRuns")
    queue_length = fields.Integer(data_key="QueueLength")
    max_queued = fields.Integer(allow_none=True, data_key="MaxQueued")
    depends_on = fields.List(fields.Nested(DependencySchema), data_key="DependsOn")
