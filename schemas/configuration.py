"""Parsing of a job configuration: the JSON Schema, then the rules that a schema cannot express."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, TypeChecker, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from schemas.definition import Definition, build_definition, variable_name
from schemas.documents import NotJson, parse
from schemas.faults import Fault, Refused, pointer_to, unknown_field
from schemas.images import is_image, is_image_pattern
from schemas.quantities import NotAQuantity, parse_quantity
from schemas.security import security_faults

Definitions = Mapping[str, Definition]
"""Definitions by name."""


def parse_configuration(document: str) -> Definitions:
    """Parse a configuration.

    Args:
        document: the JSON, `{"Configurations": {"<name>": {...}}}`.

    Returns:
        The definitions, in the order of the document.

    Raises:
        Refused: the configuration has faults; the exception has all of them.
    """
    try:
        value, faults = parse(document)
    except NotJson as error:
        raise Refused([Fault("", f"not JSON: {error}")]) from error
    faults += _schema_faults(value)
    faults += _semantic_faults(value)
    if faults:
        raise Refused(sorted(set(faults)))
    assert isinstance(value, dict)
    return {name: build_definition(name, entry) for name, entry in value["Configurations"].items()}


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) of a configuration, as it is published."""
    return files("schemas").joinpath("jobs-configuration.schema.json").read_text("utf-8")


def load_schema() -> dict[str, Any]:
    """Return the JSON Schema of a configuration."""
    schema: dict[str, Any] = json.loads(schema_text())
    return schema


def _is_integer(_checker: TypeChecker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_pattern(_v: Validator, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    # In JSON Schema (ECMA-262) $ matches only the end of the text; Python's also matches before a last line feed.
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError("does not match the required pattern")


@cache
def _validator() -> Validator:
    strict = extend(  # type: ignore[no-untyped-call] # the stubs leave `extend` without annotations
        Draft202012Validator,
        validators={"pattern": _check_pattern},
        # To JSON Schema 1.0 is an integer, but not to Kubernetes.
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
    )
    validator: Validator = strict(load_schema())
    return validator


def _schema_faults(value: Any) -> list[Fault]:
    return [fault for error in _validator().iter_errors(value) for fault in _faults_of(error)]


def _faults_of(error: ValidationError) -> Iterator[Fault]:
    """Turn an error of the schema into faults, whose messages never contain a value of the configuration."""
    path, schema = tuple(error.absolute_path), error.schema
    assert isinstance(schema, dict)
    match error.validator:
        case "required":
            (field,) = re.findall(r"^'(.*)' is a required property$", error.message)
            yield Fault(pointer_to(*path, field), "required, but missing")
        case "additionalProperties":
            known = schema["properties"]
            refused = {key.lower(): message for key, message in schema.get("refusedProperties", {}).items()}
            unknown = [key for key, _ in _items(error.instance) if key not in known]
            for key in unknown:
                yield Fault(pointer_to(*path, key), refused.get(key.lower()) or unknown_field(key, known))
        case _ if "propertyNames" in error.absolute_schema_path:
            # The instance is the property's name; the path leads to the object that has it.
            yield Fault(
                pointer_to(*path, str(error.instance)),
                schema.get("errorMessage", "this name is not allowed here"),
            )
        case _:
            yield Fault(pointer_to(*path), schema.get("errorMessage") or _message_of(error))


def _message_of(error: ValidationError) -> str:
    expected = error.validator_value
    article = "an" if str(expected)[:1] in "aeiou" else "a"
    return {
        "type": f"must be {article} {expected}",
        "enum": f"must be one of {', '.join(map(str, expected)) if isinstance(expected, list) else expected}",
        "minimum": f"must be at least {expected}",
        "maximum": f"must be at most {expected}",
        "minLength": "must not be empty",
        "minItems": "must not be empty",
        "maxLength": f"must have at most {expected} characters",
        "uniqueItems": "has an item twice",
    }.get(str(error.validator), "not allowed here")


def _semantic_faults(value: object) -> Iterator[Fault]:
    """Find the faults that a schema cannot express. Parts of the wrong type are skipped: the schema reports them."""
    definitions = value.get("Configurations") if isinstance(value, dict) else None
    for name, entry in _items(definitions):
        path = ("Configurations", name)
        yield from _image_faults(path, entry)
        yield from _resource_faults((*path, "Resources"), entry.get("Resources") if isinstance(entry, dict) else None)
        yield from _environment_faults(path, entry)
        yield from security_faults(
            (*path, "SecurityContext"), entry.get("SecurityContext") if isinstance(entry, dict) else None
        )


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _list_in(entry: object, field: str) -> list[Any]:
    value = entry.get(field) if isinstance(entry, dict) else None
    return value if isinstance(value, list) else []


def _image_faults(path: tuple[str, ...], entry: object) -> Iterator[Fault]:
    image = entry.get("Image") if isinstance(entry, dict) else None
    if isinstance(image, str) and image and not is_image(image):
        yield Fault(pointer_to(*path, "Image"), "not an image reference; write it like registry/repository:tag")
    for index, pattern in enumerate(_list_in(entry, "ImagesWhitelist")):
        if isinstance(pattern, str) and pattern and not is_image_pattern(pattern):
            yield Fault(pointer_to(*path, "ImagesWhitelist", index), "has a character that no image reference can have")


def _resource_faults(path: tuple[str, ...], resources: object) -> Iterator[Fault]:
    amounts: dict[str, dict[str, int]] = {"Requests": {}, "Limits": {}}
    for part, read in amounts.items():
        for resource, text in _items(resources.get(part) if isinstance(resources, dict) else None):
            if not isinstance(text, str) or not text:
                continue
            try:
                read[resource] = parse_quantity(text)
            except NotAQuantity as error:
                yield Fault(pointer_to(*path, part, resource), str(error))
    requests, limits = amounts["Requests"], amounts["Limits"]
    for resource in requests.keys() & limits.keys():
        if requests[resource] > limits[resource]:
            yield Fault(pointer_to(*path, "Requests", resource), "larger than the limit of the same resource")


def _environment_faults(path: tuple[str, ...], entry: object) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, variable in enumerate(_list_in(entry, "Environments")):
        if not isinstance(variable, dict):
            continue
        yield from _divisor_faults((*path, "Environments", index, "ResourceFieldRef"), variable.get("ResourceFieldRef"))
        name = variable_name(variable) if {"Name", "name"} & variable.keys() else None
        if not isinstance(name, str):
            continue
        if name in seen:
            # The message omits the name: someone who wrote NAME=value has put a value into it.
            yield Fault(pointer_to(*path, "Environments", index), "named twice")
        seen.add(name)


def _divisor_faults(path: tuple[str | int, ...], reference: object) -> Iterator[Fault]:
    divisor = reference.get("Divisor") if isinstance(reference, dict) else None
    if isinstance(divisor, str) and divisor:
        try:
            parse_quantity(divisor)
        except NotAQuantity as error:
            yield Fault(pointer_to(*path, "Divisor"), str(error))
