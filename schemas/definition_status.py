"""A definition as the caller sees it: what it is, and how it stands."""

from dataclasses import dataclass

from marshmallow import Schema, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyView:
    """A dependency of a definition.

    Attributes:
        name: as the definition has it.
        kind: `Deployment`, `StatefulSet`, or both where both bear the name; empty: there is neither.
        ready: whether a run that depends on it may start, as far as it goes.
        ready_replicas: how many of its pods are ready.
        message: its counts, or what is wrong.
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
        image: of a run whose request names none.
        number_parallel_job: its slots.
        active_runs: how many runs hold a slot; more than there are slots after these became fewer.
        queue_length: how many runs wait.
        max_queued: how many may; `None`: any number, as far as the definition goes.
        depends_on: what a run waits for whose request names nothing else.
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
    """An entry of the answer to `GET /jobs/status`."""

    name = fields.String(data_key="Name")
    visibility = fields.String(data_key="Visibility")
    image = fields.String(data_key="Image")
    number_parallel_job = fields.Integer(data_key="NumberParallelJob")
    active_runs = fields.Integer(data_key="ActiveRuns")
    queue_length = fields.Integer(data_key="QueueLength")
    max_queued = fields.Integer(allow_none=True, data_key="MaxQueued")
    depends_on = fields.List(fields.Nested(DependencySchema), data_key="DependsOn")
