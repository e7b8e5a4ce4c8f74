"""What the service answers, as values. docs/http.md describes each key."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from slimfaas_jobs.errors import InvalidResponseError

Document = Mapping[str, Any]

_ENDS = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The state of a run: `GET /job/<name>/<id>`.

    Attributes:
        definition: the name of its definition.
        id: its id.
        name: the name of its Kubernetes Job.
        status: `Queued`, `Pending`, `Running`, `Succeeded`, `Failed` or `ImagePullBackOff`.
        reason: why, as one word for programs; empty: nothing to say.
        message: why, for people.
        position_in_queue: from 1; -1: it is admitted.
        in_queue_timestamp: when its request was accepted, in Unix milliseconds.
        start_timestamp: when it was started, in Unix milliseconds; -1: not yet.
        end_timestamp: when it ended, in Unix milliseconds; -1: not yet.
        queue_duration_milliseconds: from its request to its start; -1: not started yet.
        run_duration_milliseconds: from its start to its end; -1: not ended yet.
        attempts: how many attempts there have been.
        exit_code: of its container; -1: unknown.
        result: the container's termination message.
        image: of its container.
        args: its arguments; `None`: the image's own.
        depends_on: the workloads that it depends on; `None`: unreadable.
        environments: the names of its environment variables.
        started_by: the user who started it; empty: unknown.
        notification: whether the receiver that its definition names has been told of its end; empty: there is none.
        document: the whole response, with keys that this class does not know.
    """

    definition: str
    id: str
    name: str
    status: str
    reason: str = ""
    message: str = ""
    position_in_queue: int = -1
    in_queue_timestamp: int = -1
    start_timestamp: int = -1
    end_timestamp: int = -1
    queue_duration_milliseconds: int = -1
    run_duration_milliseconds: int = -1
    attempts: int = 0
    exit_code: int = -1
    result: str = ""
    image: str = ""
    args: tuple[str, ...] | None = None
    depends_on: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None
    started_by: str = ""
    notification: str = ""
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_ended(self) -> bool:
        """Whether the run has succeeded or failed."""
        return self.status in _ENDS

    @property
    def has_succeeded(self) -> bool:
        """Whether the run has succeeded."""
        return self.status == "Succeeded"

    @classmethod
    def from_document(cls, definition: str, document: object) -> Self:
        """Read a run.

        Raises:
            InvalidResponseError: the document is not a run.
        """
        known = _read_known(cls, document, ("definition", "document"))
        for required in ("id", "name", "status"):
            if not known.get(required):
                raise InvalidResponseError(f"the response is not a run: it has no {_key_of(required)}")
        return cls(definition=definition, document=_as_object(document), **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """An accepted request.

    Attributes:
        definition: the name of the definition.
        id: the id of the run.
        name: the name of its Kubernetes Job.
        status: its status.
        replayed: whether an earlier request with the same key has started it.
    """

    definition: str
    id: str
    name: str
    status: str
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A workload that runs wait for.

    Attributes:
        name: its name.
        kind: `Deployment`, `StatefulSet` or both; empty: there is neither.
        ready: whether it permits a run to start.
        ready_replicas: how many of its pods are ready.
        message: its counts, or what is wrong.
    """

    name: str
    kind: str = ""
    ready: bool = False
    ready_replicas: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The state of a definition: an entry of `GET /jobs/status`.

    Attributes:
        name: its name.
        visibility: `Public` or `Private`.
        number_parallel_job: its slots.
        active_runs: how many runs hold a slot.
        queue_length: how many runs are queued; `None`: the caller may not know.
        max_queued: how many may be queued; `None`: no bound of its own, or unknown.
        image: its image; empty: the caller may not know.
        overridable: the fields that a request may set.
        depends_on: what its runs wait for.
        source: `Configuration`, `CronJob`, or empty: the caller may not know.
        document: the whole entry, with keys that this class does not know.
    """

    name: str
    visibility: str = ""
    number_parallel_job: int = 0
    active_runs: int = 0
    queue_length: int | None = None
    max_queued: int | None = None
    image: str = ""
    overridable: tuple[str, ...] | None = None
    depends_on: tuple[Dependency, ...] = ()
    source: str = ""
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Read an entry.

        Raises:
            InvalidResponseError: the document is not a definition.
        """
        known = _read_known(cls, document, ("document", "depends_on"))
        if not known.get("name"):
            raise InvalidResponseError("the response is not a list of definitions: one has no Name")
        given = _as_object(document)
        dependencies = tuple(Dependency(**_read_known(Dependency, one)) for one in given.get("DependsOn") or ())
        return cls(document=given, depends_on=dependencies, **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule: `GET /job-schedules/<name>/<id>`.

    Attributes:
        id: its id.
        name: the name of its definition.
        cron_job: the name of its Kubernetes CronJob.
        status: `Active`, `Suspended` or `Refused`.
        message: why it is refused; empty: it is not.
        schedule: the cron expression.
        time_zone: of the cron expression.
        starting_deadline_seconds: how late a run may be made; `None`: however late.
        concurrency_policy: `Allow`, `Forbid` or `Replace`.
        suspend: whether it is paused.
        source: `Configuration`, `CronJob` or `Http`.
        next_timestamp: when its next run is made, in Unix milliseconds; -1: none will be.
        last_timestamp: for which time its last run was made, in Unix milliseconds; -1: none has been.
        unfinished_runs: how many of its runs are queued or active.
        image: of its runs.
        args: the arguments of its runs; `None`: the image's own.
        depends_on: the workloads that its runs depend on; `None`: unreadable.
        environments: the names of the environment variables of its runs.
        started_by: the user who has made it; empty: unknown.
        document: the whole response, with keys that this class does not know.
    """

    id: str
    name: str
    cron_job: str = ""
    status: str = ""
    message: str = ""
    schedule: str = ""
    time_zone: str = ""
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = ""
    suspend: bool = False
    source: str = ""
    next_timestamp: int = -1
    last_timestamp: int = -1
    unfinished_runs: int = 0
    image: str = ""
    args: tuple[str, ...] | None = None
    depends_on: tuple[str, ...] | None = None
    environments: tuple[str, ...] | None = None
    started_by: str = ""
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Read a schedule.

        Raises:
            InvalidResponseError: the document is not a schedule.
        """
        known = _read_known(cls, document, ("document",))
        if not known.get("id") or not known.get("name"):
            raise InvalidResponseError("the response is not a schedule: it has no Id or no Name")
        return cls(document=_as_object(document), **known)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptiedQueue:
    """What `DELETE /job/<name>?status=Queued` has done.

    Attributes:
        deleted: how many runs were deleted.
        remaining: how many of those that were queued are left: repeat the call.
    """

    deleted: int
    remaining: int


def as_list(document: object) -> list[object]:
    """Return a list.

    Raises:
        InvalidResponseError: the document is none.
    """
    if not isinstance(document, list):
        raise InvalidResponseError("the response is not a list")
    return document


def _as_object(document: object) -> Document:
    if not isinstance(document, dict):
        raise InvalidResponseError("the response is not a JSON object")
    return document


def _key_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _read_known(cls: type, document: object, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a class that a document has, by the types of their annotations."""
    given = _as_object(document)
    known: dict[str, Any] = {}
    for one in fields(cls):
        value = given.get(_key_of(one.name))
        if one.name in others or value is None:
            continue
        known[one.name] = _converted(value, one.type, _key_of(one.name))
    return known


def _converted(value: object, kind: object, key: str) -> object:
    """Return a value of a field, checked against the field's type."""
    if kind in (int, int | None) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (kind is str and isinstance(value, str)) or (kind is bool and isinstance(value, bool)):
        return value
    if kind == tuple[str, ...] | None and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidResponseError(f"the response has a {key} of another type")
