"""Parsing of a job configuration: the JSON Schema, then the rules that a schema cannot express."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, TypeChecker, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from schemas.definition import REFERENCES, Definition, build_definition, lower_name, variable_name
from schemas.dependencies import MAX_NAMES_BYTES, count_bytes
from schemas.documents import NotJson, parse
from schemas.faults import Fault, Refused, pointer_to, unknown_field
from schemas.images import is_image, is_image_pattern
from schemas.kueue import kueue_faults
from schemas.notify import notify_faults
from schemas.quantities import NotAQuantity, parse_amount, parse_limit, parse_quantity
from schemas.security import security_faults
from schemas.template_reading import Reading, read_template, without_nulls

Definitions = Mapping[str, Definition]
"""Definitions by their names in lower case."""


def parse_configuration(document: str) -> Definitions:
    """Parse a configuration.

    Args:
        document: the JSON, `{"Configurations": {"<name>": {...}}, "Schedules": {"<name>": [...]}}`, with or without
            the byte order mark that some editors write (RFC 8259, section 8.1, lets parsers ignore it).

    Returns:
        The definitions, in the order of the document.

    Raises:
        Refused: the configuration has faults; the exception has all of them.
    """
    try:
        value, faults = parse(document.removeprefix("\ufeff"))
    except NotJson as error:
        raise Refused([Fault("", f"not JSON: {error}")]) from error
    return parse_value(value, faults)


def parse_value(value: object, faults_before: Iterable[Fault] = ()) -> Definitions:
    """Parse a configuration that has been read from JSON or made of other objects.

    Args:
        value: `{"Configurations": {"<name>": {...}}, "Schedules": {"<name>": [...]}}` as plain JSON types.
        faults_before: faults to be reported together with those found here.

    Returns:
        The definitions, in the order of the value.

    Raises:
        Refused: the configuration has faults; the exception has all of them.
    """
    value = _clean_templates(value)
    faults = [*faults_before, *_schema_faults(value)]
    readings = dict(_read_templates(value, faults))
    faults += _semantic_faults(value)
    faults += [fault for reading in readings.values() for fault in reading.faults]
    if faults:
        raise Refused(sorted(set(faults)))
    assert isinstance(value, dict)
    built = (
        _build(name, readings[name]) if name in readings else build_definition(name, entry)
        for name, entry in value["Configurations"].items()
    )
    definitions = {definition.name: definition for definition in built}
    if value.get("Schedules"):
        faults += _add_schedules(definitions, value["Schedules"])
    if faults:
        raise Refused(sorted(set(faults)))
    return definitions


def _add_schedules(definitions: dict[str, Definition], schedules: Mapping[str, Sequence[Any] | None]) -> list[Fault]:
    """Add the schedules to their definitions; returns their faults."""
    from schemas.schedules import read_schedules  # marshmallow takes longer to import than all of `validate`

    faults: list[Fault] = []
    for name, entries in schedules.items():
        definition = definitions[lower_name(name)]
        read, found = read_schedules(definition, entries or ())
        faults += [Fault(pointer_to("Schedules", name) + fault.pointer, fault.message) for fault in found]
        definitions[definition.name] = replace(definition, schedules=read)
    return faults


def _clean_templates(value: object) -> object:
    """Return a configuration whose templates have no fields that are null: Kubernetes takes them as absent."""
    definitions = value.get("Configurations") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(definitions, dict):
        return value
    cleaned = {
        name: {**entry, "JobTemplate": without_nulls(entry["JobTemplate"])}
        if isinstance(entry, dict) and "JobTemplate" in entry
        else entry
        for name, entry in definitions.items()
    }
    return {**value, "Configurations": cleaned}


def _build(name: str, reading: Reading) -> Definition:
    return build_definition(name, reading.entry, reading.template, reading.variables)


def _read_templates(value: object, faults: Sequence[Fault]) -> Iterator[tuple[str, Reading]]:
    """Read the definitions with a template, if their parts have the types that the schema demands."""
    faulty = [fault.pointer for fault in faults]
    for name, entry in _items(value.get("Configurations") if isinstance(value, dict) else None):
        if not isinstance(entry, dict) or "JobTemplate" not in entry:
            continue
        pointer = pointer_to("Configurations", name)
        if not any(one == pointer or one.startswith(f"{pointer}/") for one in faulty):
            yield name, read_template(("Configurations", name), name, entry)


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
    if error.validator == "type" and isinstance(expected, list):
        expected = expected[0]  # the other one is null, which says the same as leaving the field out
    article = "an" if str(expected)[:1] in "aeiou" else "a"
    return {
        "type": f"must be {article} {expected}",
        "enum": f"must be one of {', '.join(map(str, expected)) if isinstance(expected, list) else expected}",
        "minimum": f"must be at least {expected}",
        "maximum": f"must be at most {expected}",
        "minLength": "must not be empty",
        "minItems": "must not be empty",
        "maxLength": f"must have at most {expected} characters",
        "maxItems": f"must have at most {expected} items",
        "uniqueItems": "has an item twice",
    }.get(str(error.validator), "not allowed here")


def _semantic_faults(value: object) -> Iterator[Fault]:
    """Find the faults that a schema cannot express. Parts of the wrong type are skipped: the schema reports them."""
    definitions = value.get("Configurations") if isinstance(value, dict) else None
    written: dict[str, str] = {}
    for name, entry in _items(definitions):
        path = ("Configurations", name)
        if (earlier := written.setdefault(lower_name(name), name)) != name:
            yield Fault(pointer_to(*path), f"the same name as {earlier}: capitals count as lower case")
        yield from _image_faults(path, entry)
        yield from _resource_faults((*path, "Resources"), entry.get("Resources") if isinstance(entry, dict) else None)
        yield from _dependency_faults(path, entry)
        yield from _environment_faults(path, name, entry)
        yield from kueue_faults(path, entry)
        yield from notify_faults((*path, "Notify"), entry.get("Notify") if isinstance(entry, dict) else None)
        yield from security_faults(
            (*path, "SecurityContext"), entry.get("SecurityContext") if isinstance(entry, dict) else None
        )
    yield from _schedule_faults(value, written.keys())


def _schedule_faults(value: object, definitions: Collection[str]) -> Iterator[Fault]:
    """Find names of definitions that don't exist. What the schedules say is checked with their definitions."""
    written: dict[str, str] = {}
    for name, _ in _items(value.get("Schedules") if isinstance(value, dict) else None):
        if (earlier := written.setdefault(lower_name(name), name)) != name:
            yield Fault(pointer_to("Schedules", name), f"the same name as {earlier}: capitals count as lower case")
        elif lower_name(name) not in definitions:
            yield Fault(pointer_to("Schedules", name), "Configurations has no definition of this name")


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


def _dependency_faults(path: tuple[str, ...], entry: object) -> Iterator[Fault]:
    size_bytes = count_bytes(name for name in _list_in(entry, "DependsOn") if isinstance(name, str))
    if size_bytes > MAX_NAMES_BYTES:
        yield Fault(
            pointer_to(*path, "DependsOn"),
            f"the names have {size_bytes} bytes together, more than {MAX_NAMES_BYTES}",
        )


def _resource_faults(path: tuple[str, ...], resources: object) -> Iterator[Fault]:
    amounts: dict[str, dict[str, int]] = {"Requests": {}, "Limits": {}}
    for part, read in amounts.items():
        for resource, text in _items(resources.get(part) if isinstance(resources, dict) else None):
            if not isinstance(text, str) or not text:
                continue
            try:
                read[resource] = parse_limit(resource, text) if part == "Limits" else parse_amount(resource, text)
            except NotAQuantity as error:
                yield Fault(pointer_to(*path, part, resource), str(error))
    requests, limits = amounts["Requests"], amounts["Limits"]
    for resource in requests.keys() & limits.keys():
        if requests[resource] > limits[resource]:
            yield Fault(pointer_to(*path, "Requests", resource), "larger than the limit of the same resource")


def _environment_faults(path: tuple[str, ...], name_of_definition: str, entry: object) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, variable in enumerate(_list_in(entry, "Environments")):
        if not isinstance(variable, dict):
            continue
        place: tuple[str | int, ...] = (*path, "Environments", index, "ResourceFieldRef")
        reference = variable.get("ResourceFieldRef")
        yield from _divisor_faults(place, reference)
        yield from _container_faults(place, name_of_definition, entry, reference)
        if variable.keys() & REFERENCES and (variable.get("Value") or variable.get("value")):
            yield Fault(
                pointer_to(*path, "Environments", index),
                "needs at most one of Value, SecretRef, ConfigMapRef, FieldRef and ResourceFieldRef",
            )
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


def _container_faults(
    path: tuple[str | int, ...], name_of_definition: str, entry: object, reference: object
) -> Iterator[Fault]:
    """Find a reference to another container than the run's, whose resources alone the field can mean."""
    container = reference.get("ContainerName") if isinstance(reference, dict) else None
    if not isinstance(container, str) or not container:
        return
    if isinstance(entry, dict) and "JobTemplate" in entry:
        message = "not beside a JobTemplate; move the variable into its container, as resourceFieldRef"
    elif lower_name(container) != lower_name(name_of_definition):
        message = "not the run's container, which has the definition's name; leave ContainerName out"
    else:
        return
    yield Fault(pointer_to(*path, "ContainerName"), message)
