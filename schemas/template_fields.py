"""Checks a template against the fields that Kubernetes documents. Only `slimfaas-jobs validate` does."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from schemas.configuration import Definitions
from schemas.faults import Fault, pointer_to, unknown_field

_Path = tuple[str | int, ...]

_QUANTITIES = frozenset({"requests", "limits", "overhead", "sizeLimit", "divisor"})
"""Fields whose values may be numbers, although their type is `str`."""

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a string"),
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}


def find_field_faults(definitions: Definitions) -> list[Fault]:
    """Find fields of templates that Kubernetes does not have, and values of the wrong type.

    The fields are those of the release that the official client is made for. A newer cluster may have more, so where an
    API server is asked, its word counts instead.
    """
    return [
        fault
        for definition in definitions.values()
        if definition.template is not None
        for fault in _check(
            ("Configurations", definition.written_name or definition.name, "JobTemplate"),
            definition.template.job,
            _fields()["root"],
        )
    ]


@cache
def _fields() -> Mapping[str, Any]:
    """Return the document that `tools/template_fields.py` writes."""
    fields: dict[str, Any] = json.loads(files("schemas").joinpath("job-template-fields.json").read_text("utf-8"))
    return fields


def _check(path: _Path, value: Any, kind: str) -> Iterator[Fault]:
    """Check a value against a type as `tools.template_fields.write_fields` writes it."""
    if kind in _TYPES:
        types, description = _TYPES[kind]
        is_quantity = kind == "str" and not _QUANTITIES.isdisjoint(map(str, path[-2:]))
        fits = isinstance(value, types) or (is_quantity and isinstance(value, int | float))
        if not fits or (isinstance(value, bool) and kind != "bool"):
            yield Fault(pointer_to(*path), f"must be {description}")
    elif kind.startswith("List["):
        if not isinstance(value, list):
            yield Fault(pointer_to(*path), "must be an array")
            return
        for index, item in enumerate(value):
            yield from _check((*path, index), item, kind[5:-1])
    elif kind.startswith("Dict["):
        if not isinstance(value, dict):
            yield Fault(pointer_to(*path), "must be an object")
            return
        for key, item in value.items():
            yield from _check((*path, key), item, kind[10:-1])
    elif kind != "object":
        yield from _check_object(path, value, _fields()["types"][kind])


def _check_object(path: _Path, value: Any, known: Mapping[str, str]) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(pointer_to(*path), "must be an object")
        return
    for key, item in value.items():
        if key in known:
            yield from _check((*path, key), item, known[key])
        else:
            yield Fault(pointer_to(*path, key), f"{unknown_field(key, known)} (of Kubernetes {_fields()['release']})")
