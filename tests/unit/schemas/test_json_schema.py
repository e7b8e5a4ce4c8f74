"""The JSON Schema file, as editors and other validators read it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.configuration import load_schema, parse_configuration
from schemas.definition import build_definition
from schemas.request import RequestSchema
from schemas.security import build_security_context

SEED = Path(__file__).parents[2] / "data" / "seed"
SCHEMA = load_schema()
FIELDS = {
    "Image",
    "ImagesWhitelist",
    "Resources",
    "DependsOn",
    "Environments",
    "BackoffLimit",
    "Visibility",
    "NumberParallelJob",
    "MaxQueued",
    "TimeoutSeconds",
    "PendingTimeoutSeconds",
    "TtlSecondsAfterFinished",
    "RestartPolicy",
    "Args",
    "Command",
    "ServiceAccountName",
    "SecurityContext",
}


def properties(node: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every declared property with the schema path it is declared at."""
    if isinstance(node, dict):
        for key, inner in node.items():
            if key == "properties":
                yield from ((f"{path}/properties/{name}", declared) for name, declared in inner.items())
            if key != "examples":
                yield from properties(inner, f"{path}/{key}")
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from properties(inner, f"{path}/{index}")


def resolved(declared: dict[str, Any]) -> dict[str, Any]:
    """A property with what its reference adds."""
    reference = declared.get("$ref")
    return {**SCHEMA["$defs"][reference.removeprefix("#/$defs/")], **declared} if reference else declared


PROPERTIES = [pytest.param(declared, id=path) for path, declared in properties(SCHEMA)]


def validator_of(declared: dict[str, Any]) -> Draft202012Validator:
    """A validator of one property, with the definitions that it refers to."""
    return Draft202012Validator({"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], **declared})


def test_the_file_is_a_valid_schema_of_its_draft() -> None:
    """It says draft 2020-12, and is right by that draft's own meta-schema."""
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_it_declares_the_fields_of_a_definition_and_no_other() -> None:
    """The reference table and the schema name the same fields."""
    assert SCHEMA["$defs"]["definition"]["properties"].keys() == FIELDS


@pytest.mark.parametrize("declared", PROPERTIES)
def test_every_property_explains_itself(declared: dict[str, Any]) -> None:
    """An editor has a title, a description and an example to show for every property."""
    shown = resolved(declared)

    assert shown.get("title")
    assert shown["description"].endswith(".")
    assert shown["examples"]


@pytest.mark.parametrize("part", list(SCHEMA["$defs"]))
def test_every_shared_part_explains_itself(part: str) -> None:
    """An editor shows it where a property refers to it and says nothing of its own; its examples are right."""
    declared = SCHEMA["$defs"][part]
    assert declared["title"]
    assert declared["description"].endswith(".")
    for example in declared["examples"]:
        validator_of(declared).validate(example)


@pytest.mark.parametrize("declared", PROPERTIES)
def test_every_example_and_default_is_valid(declared: dict[str, Any]) -> None:
    """What the schema shows, it accepts."""
    shown = resolved(declared)

    for example in (*shown["examples"], *([shown["default"]] if "default" in shown else [])):
        validator_of(declared).validate(example)


@pytest.mark.parametrize("example", SCHEMA["$defs"]["definition"]["examples"])
def test_the_example_of_a_definition_is_one(example: dict[str, Any]) -> None:
    """The service accepts what the schema gives as an example, whole."""
    assert (
        parse_configuration(json.dumps({"Configurations": {"example": example}}))["example"].image == example["Image"]
    )


@pytest.mark.parametrize("field", sorted(FIELDS - {"Image"}))
def test_the_examples_of_each_field_pass_the_service_own_checks(field: str) -> None:
    """An example is also right by what a schema can't say: quantities, references, duplicates."""
    for example in SCHEMA["$defs"]["definition"]["properties"][field]["examples"]:
        entry = {"Image": "busybox", field: example}
        parse_configuration(json.dumps({"Configurations": {"example": entry}}))


@pytest.mark.parametrize(
    "field", [name for name, declared in SCHEMA["$defs"]["definition"]["properties"].items() if "default" in declared]
)
def test_the_defaults_in_the_schema_are_those_in_force(field: str) -> None:
    """Writing a default out changes nothing."""
    default = SCHEMA["$defs"]["definition"]["properties"][field]["default"]

    assert build_definition("a", {"Image": "busybox", field: default}) == build_definition("a", {"Image": "busybox"})


def test_the_defaults_of_a_security_context_are_those_in_force() -> None:
    """Writing each of them out changes nothing."""
    declared = SCHEMA["$defs"]["securityContext"]["properties"]
    defaults = {name: shown["default"] for name, shown in declared.items() if "default" in shown}

    assert defaults.keys() == {"SupplementalGroups", "AllowPrivilegeEscalation", "Capabilities", "SeccompProfile"}
    assert build_security_context(defaults) == build_security_context({})


def test_objects_take_no_unknown_field() -> None:
    """Every object with declared properties is closed, so that a misspelt field is never passed over."""

    def closed(node: Any) -> Iterator[bool]:
        if isinstance(node, dict):
            if "properties" in node:
                yield node.get("additionalProperties") is False
            for inner in node.values():
                yield from closed(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from closed(inner)

    assert all(closed(SCHEMA))


def test_other_validators_accept_the_documented_configuration() -> None:
    """The plain validator, without what the service adds, takes the documentation's example."""
    Draft202012Validator(SCHEMA).validate(json.loads((SEED / "configuration.json").read_text("utf-8")))


def test_a_request_overrides_fields_of_a_definition_alone() -> None:
    """What a request may name is named the same in a definition; what only the platform team sets is missing there."""
    overridable = {declared.data_key for declared in RequestSchema().fields.values()}

    assert overridable == FIELDS - {
        "ImagesWhitelist",
        "Visibility",
        "NumberParallelJob",
        "MaxQueued",
        "Command",
        "ServiceAccountName",
        "SecurityContext",
    }
