"""The body of a request to start a run: its fields and their types. `schemas.merge` applies it to a definition."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError, post_load, pre_load, validate

from schemas.definition import REFERENCES, RESERVED_PREFIX, RestartPolicy, Variable
from schemas.dependencies import WORKLOAD_NAME, WORKLOAD_NAME_LENGTH
from schemas.documents import parse
from schemas.faults import Fault, Refused, pointer_to
from schemas.strict import Amounts, Count, List, Nested, Seconds, StrictSchema, Text


@dataclass(frozen=True, slots=True)
class Request:
    """The changes to a definition for one run; `None` or empty: no change.

    Attributes:
        args: replaces the definition's.
        image: replaces the definition's, if it is allowed.
        depends_on: replaces the definition's; an empty tuple: no dependencies.
        requests: lower resource requests, by resource name.
        limits: lower resource limits, by resource name.
        environments: literal variables that the definition allows; each replaces the definition's variable of the same
            name.
        backoff_limit: lowers the definition's, or is at most Kubernetes' default of 6 if the definition has none.
        timeout_seconds: lowers the definition's, or sets it if the definition has none.
        pending_timeout_seconds: lowers the definition's, or sets it if the definition has none.
        queue_timeout_seconds: lowers the definition's, or sets it if the definition has none.
        ttl_seconds_after_finished: lowers the definition's, or sets it if the definition has none.
        restart_policy: replaces the definition's.
        priority: a WorkloadPriorityClass of Kueue that the definition allows.
    """

    args: tuple[str, ...] | None = None
    image: str | None = None
    depends_on: tuple[str, ...] | None = None
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    environments: tuple[Variable, ...] = ()
    backoff_limit: int | None = None
    timeout_seconds: int | None = None
    pending_timeout_seconds: int | None = None
    queue_timeout_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    restart_policy: RestartPolicy | None = None
    priority: str | None = None


def overridden_fields(request: Request) -> tuple[str, ...]:
    """Return the names of the fields that a request changes, sorted, without their values."""
    changes = {
        "Args": request.args is not None,
        "BackoffLimit": request.backoff_limit is not None,
        "DependsOn": request.depends_on is not None,
        "Environments": bool(request.environments),
        "Image": request.image is not None,
        "PendingTimeoutSeconds": request.pending_timeout_seconds is not None,
        "Priority": request.priority is not None,
        "QueueTimeoutSeconds": request.queue_timeout_seconds is not None,
        "Resources": bool(request.requests or request.limits),
        "RestartPolicy": request.restart_policy is not None,
        "TimeoutSeconds": request.timeout_seconds is not None,
        "TtlSecondsAfterFinished": request.ttl_seconds_after_finished is not None,
    }
    return tuple(name for name, changed in changes.items() if changed)


def read_request(body: bytes) -> tuple[Request, list[Fault]]:
    """Parse a body as far as possible, so that `schemas.merge.merge` can report its faults together with these.

    Args:
        body: a JSON object, or empty.

    Returns:
        The request without its faulty fields, and the faults.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: the body is JSON, but not an object.
    """
    if not body:
        return Request(), []
    value, faults = parse_object(body)
    loaded, more_faults = load_fields(_SCHEMA, value)
    return build_request(loaded), [*faults, *more_faults]


def parse_object(body: bytes) -> tuple[dict[str, Any], list[Fault]]:
    """Parse a body that must be a JSON object; returns it with what makes it ambiguous.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: the body is JSON, but not an object.
    """
    value, faults = parse(body)
    if not isinstance(value, dict):
        raise Refused([Fault("", "must be a JSON object")])
    return value, faults


def load_fields(schema: StrictSchema, value: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Fault]]:
    """Return the fields of a value without faults, by their names in Python, and the faults of the others."""
    try:
        loaded: dict[str, Any] = schema.load(value)
    except ValidationError as error:
        return _valid_fields(schema, error), list(_flatten(error.messages, value, ()))
    return loaded, []


def _valid_fields(schema: StrictSchema, error: ValidationError) -> dict[str, Any]:
    """Return the fields without faults. A list with a fault is omitted: the indices of its items would shift."""
    assert isinstance(error.messages, dict)
    assert isinstance(error.valid_data, dict)
    faulty = error.messages.keys() - {"Resources"}  # its two parts count as fields of their own
    return {name: value for name, value in error.valid_data.items() if schema.fields[name].data_key not in faulty}


_ABSENT = (("image", ""), ("priority", ""))


def build_request(loaded: Mapping[str, Any]) -> Request:
    """Build the immutable request. Clients send `null`, an empty `Image` or `Priority` for fields not given."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in loaded.items()}
    resources = plain.pop("resources", None) or {}
    given = {key: value for key, value in plain.items() if value is not None and (key, value) not in _ABSENT}
    return Request(**given, **resources)


class ResourcesSchema(StrictSchema):
    """`Resources` of a request."""

    requests = Amounts(data_key="Requests", load_default=dict)
    limits = Amounts(data_key="Limits", load_default=dict)


_VARIABLE_NAME = "[ -<>-~]+"
"""Printable ASCII characters without `=`, as Kubernetes accepts them:
https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/"""

_LOWER_CASE = {"name": "Name", "value": "Value"}


def _check_variable_name(name: str) -> None:
    if not re.fullmatch(_VARIABLE_NAME, name):
        raise ValidationError("not the name of an environment variable (printable ASCII characters without =)")
    if name.startswith(RESERVED_PREFIX):
        raise ValidationError(f"names that begin with {RESERVED_PREFIX} are set by the service")


class VariableSchema(StrictSchema):
    """An entry of `Environments` of a request, with a literal value. `name` and `value` are accepted as well."""

    name = Text(
        data_key="Name",
        required=True,
        validate=_check_variable_name,
        metadata={"pattern": f"^(?!{RESERVED_PREFIX}){_VARIABLE_NAME}$"},
    )
    value = Text(data_key="Value", load_default="", metadata={"description": "The value. Nothing in it is expanded."})

    @pre_load
    def accept_lower_case(self, data: Any, **_: Any) -> Any:
        """Rename `name` to `Name` and `value` to `Value`. If both are given, the lower-case one stays, as unknown."""
        if not isinstance(data, dict):
            return data
        taken = {lower: upper for lower, upper in _LOWER_CASE.items() if upper not in data}
        return {taken.get(key, key): value for key, value in data.items()}

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Name the fields as the caller wrote them, and say why references are refused."""
        super().handle_error(error, data, many=many, **kwargs)
        if not isinstance(error.messages, dict) or not isinstance(data, dict):
            return
        references = data.keys() & REFERENCES
        for reference in references:
            error.messages[reference] = ["a request can set literal values only; move the reference to the definition"]
        for lower, upper in _LOWER_CASE.items():
            if {lower, upper} <= data.keys():
                error.messages[lower] = [f"also given as {upper}"]
            elif lower in data and upper in error.messages:
                error.messages[lower] = error.messages.pop(upper)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Variable:
        """Build the variable."""
        return Variable(data["name"], value=data["value"], literal=True)


class RequestSchema(StrictSchema):
    """The body of `POST /job/<name>`."""

    args = List(Text(), data_key="Args")
    image = Text(data_key="Image", metadata={"description": "Empty: the definition's."})
    depends_on = List(
        Text(metadata={"pattern": f"^{WORKLOAD_NAME}$", "maxLength": WORKLOAD_NAME_LENGTH}),
        data_key="DependsOn",
        allow_none=True,
        metadata={"uniqueItems": True},
    )
    resources = Nested(
        ResourcesSchema,
        data_key="Resources",
        allow_none=True,
        metadata={"description": "Lower resource requests and limits, by resource name."},
    )
    environments = List(Nested(VariableSchema), data_key="Environments", allow_none=True)
    backoff_limit = Count(data_key="BackoffLimit")
    timeout_seconds = Seconds(data_key="TimeoutSeconds")
    pending_timeout_seconds = Seconds(data_key="PendingTimeoutSeconds")
    queue_timeout_seconds = Seconds(data_key="QueueTimeoutSeconds")
    ttl_seconds_after_finished = Count(data_key="TtlSecondsAfterFinished")
    priority = Text(data_key="Priority", metadata={"description": "Empty: the definition's."})
    restart_policy = Text(
        data_key="RestartPolicy",
        validate=validate.OneOf(("Never", "OnFailure"), error="must be one of {choices}"),
    )


_SCHEMA = RequestSchema()

REQUEST_FIELDS = tuple(sorted(str(declared.data_key) for declared in _SCHEMA.fields.values()))
"""The names of the fields of a request, sorted."""


def _flatten(messages: Any, value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Turn marshmallow's nested messages about a value into faults.

    marshmallow uses the key `_schema` for a value that should be an object and is not. In an object, `_schema` is an
    unknown field like any other.
    """
    if not isinstance(messages, dict):
        yield from (Fault(pointer_to(*path), message) for message in messages)
        return
    for key, inner in messages.items():
        if isinstance(value, dict):
            yield from _flatten(inner, value.get(key), (*path, key))
        elif isinstance(value, list) and isinstance(key, int):
            yield from _flatten(inner, value[key], (*path, key))
        else:
            yield from _flatten(inner, value, path)
