"""Decoding of JSON into objects: checks the types of fields, and finds unknown fields.

The API server decodes a body into Go structs: a value of the wrong type is a 400; an unknown field is dropped, with a
warning or, on request, an error (https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation). The
structure comes from the models of the official Kubernetes client, which are generated from Kubernetes' own OpenAPI
document. So this package needs no copy of it.
"""

import importlib
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from devcluster.kinds import EVENT, TOKEN_REQUEST, Kind
from devcluster.objects import Object, parse_time, to_micro_time, to_time
from devcluster.validation.quantities import canonical_quantity

_MODELS = "kubernetes.client.models"
# The client's models do not distinguish these from other strings, integers and times.
_QUANTITY_MAPS = frozenset({"limits", "requests", "capacity", "allocatable", "overhead", "allocatedResources"})
_QUANTITIES = frozenset({"sizeLimit", "divisor"})
_LONG_INTEGERS = frozenset({
    "activeDeadlineSeconds", "deletionGracePeriodSeconds", "expirationSeconds", "fsGroup", "generation",
    "observedGeneration", "runAsGroup", "runAsUser", "startingDeadlineSeconds", "supplementalGroups",
    "terminationGracePeriodSeconds", "tolerationSeconds",
})  # fmt: skip
_MICRO_TIMES = frozenset({"acquireTime", "eventTime", "lastObservedTime", "renewTime"})
_MICRO_TIME = re.compile(r"[^.]*\.[0-9]{6}[^.0-9].*")
_INDEX = r"\[[0-9]+\]"
_INT32, _INT64 = 2**31, 2**63

Reader = Callable[[Any, str, list[str]], Any]  # (value, path, unknown fields found so far) -> value


class DecodeError(Exception):
    """A body with a value of the wrong type; the message is the API server's."""


@dataclass(frozen=True)
class _Struct:
    name: str  # of the Go struct, for messages
    readers: dict[str, Reader]


def decode(kind: Kind, body: Object) -> tuple[Object, list[str]]:
    """Decode an object's JSON; return the object and the paths of its unknown fields.

    Fields that are null count as missing; quantities and times are returned in their canonical form.

    Raises:
        DecodeError: a value has the wrong type.
    """
    unknown: list[str] = []
    return _read_struct(_root(kind), body, "", unknown), unknown


_AMBIGUOUS = {
    EVENT: "CoreV1Event",
    TOKEN_REQUEST: "AuthenticationV1TokenRequest",
}  # several groups have a kind of this name


@cache
def _root(kind: Kind) -> _Struct:
    return _struct(find_model(kind))


def find_model(kind: Kind) -> type[BaseModel]:
    """Return the client's model of a kind."""
    found: type[BaseModel] = getattr(importlib.import_module(_MODELS), _AMBIGUOUS.get(kind, f"V1{kind.kind}"))
    return found


@cache
def _struct(model: type[BaseModel]) -> _Struct:
    name = model.__name__.removeprefix("Core").removeprefix("Authentication").removeprefix("V1")
    readers: dict[str, Reader] = {}
    struct = _Struct(name, readers)
    for attribute, field in model.model_fields.items():
        alias = field.serialization_alias or attribute
        readers[alias] = _reader(field.annotation, alias, name)
    return struct


def _reader(annotation: Any, field: str, owner: str) -> Reader:
    """Return the reader for a field's type; structs are resolved lazily, since some contain themselves."""
    options = [one for one in get_args(annotation) if one is not types.NoneType]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _reader(options[0], field, owner) if len(options) == 1 else _read_any
    if origin is list:
        return _list_reader(_reader(options[0], field, owner), field, owner)
    if origin is dict:
        return _map_reader(_reader(options[0] if len(options) == 1 else options[1], field, owner), field, owner)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return lambda value, path, unknown: _read_struct(_struct(annotation), value, path, unknown, owner)
    base = options[0] if options else annotation  # Annotated[str, Strict()] and the like
    if base is datetime:
        return _time_reader(field, owner)
    if field in _QUANTITIES or (base is str and field in _QUANTITY_MAPS):
        return _quantity_reader(round_to_milli=field in _QUANTITY_MAPS)
    readers = {str: _read_string, bool: _read_boolean, int: _read_integer}
    return _scalar_reader(readers[base], field, owner) if base in readers else _read_any


def _read_struct(struct: _Struct, value: Any, path: str, unknown: list[str], owner: str = "") -> Object:
    if not isinstance(value, dict):
        raise _mismatch(value, path, owner, f"v1.{struct.name}")
    result: Object = {}
    for key, item in value.items():
        reader = struct.readers.get(key)
        where = f"{path}.{key}" if path else key
        if reader is None:
            unknown.append(where)
        elif item is not None:
            result[key] = reader(item, where, unknown)
    return result


def _read_any(value: Any, path: str, unknown: list[str]) -> Any:
    return value


def _list_reader(read: Reader, field: str, owner: str) -> Reader:
    def read_list(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, path, owner, f"[]{_GO_ITEMS.get(field, 'string')}")
        return [read(item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]

    return read_list


def _map_reader(read: Reader, field: str, owner: str) -> Reader:
    def read_map(value: Any, path: str, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            kind = "v1.ResourceList" if field in _QUANTITY_MAPS else "map[string]string"
            raise _mismatch(value, path, owner, kind)
        # Go decodes a null in a map of strings as the empty string.
        return {key: "" if item is None else read(item, path, unknown) for key, item in value.items()}

    return read_map


_GO_ITEMS = {
    "containers": "v1.Container",
    "env": "v1.EnvVar",
    "initContainers": "v1.Container",
    "ports": "v1.ContainerPort",
}


def _scalar_reader(read: Callable[[Any, str], str | None], field: str, owner: str) -> Reader:
    """Return a reader for scalars; `read` returns the expected Go type if the value does not have it, or None."""

    def read_scalar(value: Any, path: str, unknown: list[str]) -> Any:
        wanted = read(value, field)
        if wanted is not None:
            raise _mismatch(value, path, owner, wanted)
        return value

    return read_scalar


def _read_string(value: Any, field: str) -> str | None:
    return None if isinstance(value, str) else "string"


def _read_boolean(value: Any, field: str) -> str | None:
    return None if isinstance(value, bool) else "bool"


def _read_integer(value: Any, field: str) -> str | None:
    name, bound = ("int64", _INT64) if field in _LONG_INTEGERS else ("int32", _INT32)
    fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
    return None if fits else name


def _quantity_reader(*, round_to_milli: bool) -> Reader:
    def read_quantity(value: Any, path: str, unknown: list[str]) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DecodeError("quantities must match the regular expression "
                              "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")  # fmt: skip
        try:
            return canonical_quantity(str(value).strip(), round_to_milli=round_to_milli)
        except ValueError as error:
            raise DecodeError(str(error)) from None

    return read_quantity


def _time_reader(field: str, owner: str) -> Reader:
    micro = field in _MICRO_TIMES
    layout = "2006-01-02T15:04:05.000000Z07:00" if micro else "2006-01-02T15:04:05Z07:00"

    def read_time(value: Any, path: str, unknown: list[str]) -> str:
        if not isinstance(value, str):
            raise _mismatch(value, path, owner, "string")
        try:
            moment = parse_time(value)
            if micro and not _MICRO_TIME.fullmatch(value):
                raise ValueError("a MicroTime must have six fractional digits")
        except ValueError:
            message = f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"'
            raise DecodeError(message) from None
        return to_micro_time(moment) if micro else to_time(moment)

    return read_time


def _mismatch(value: Any, path: str, owner: str, wanted: str) -> DecodeError:
    shown = json_type(value)
    if shown == "number" and wanted.startswith("int"):
        shown = f"number {value}"
    # Unlike the paths of unknown fields, messages do not contain the index of a list item.
    place = f"Go struct field {owner}.{re.sub(_INDEX, '', path)}" if owner else "Go value"
    return DecodeError(f"json: cannot unmarshal {shown} into {place} of type {wanted}")


def json_type(value: Any) -> str:
    """Return the JSON type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "null"
