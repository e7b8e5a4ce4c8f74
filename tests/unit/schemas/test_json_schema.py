"""The JSON Schema file, for editors and other validators."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.configuration import load_schema, parse_configuration
from schemas.definition import build_definition, is_definition_name
from schemas.request import REQUEST_FIELDS, RequestSchema
from schemas.security import build_security_context

SEED = Path(__file__).parents[2] / "data" / "seed"
SCHEMA = load_schema()
FIELDS = {
    "Image",
    "ImagesWhitelist",
    "Resources",
    "DependsOn",
    "Environments",
    "EnvironmentsWhitelist",
    "Overridable",
    "BackoffLimit",
    "Visibility",
    "NumberParallelJob",
    "MaxQueued",
    "TimeoutSeconds",
    "PendingTimeoutSeconds",
    "QueueTimeoutSeconds",
    "TtlSecondsAfterFinished",
    "Notify",
    "RestartPolicy",
    "Queue",
    "Priority",
    "PrioritiesWhitelist",
    "Args",
    "Command",
    "ServiceAccountName",
    "SecurityContext",
    "JobTemplate",
}


def properties(node: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every declared property with its path in the schema."""
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
    """A property together with what its `$ref` refers to."""
    reference = declared.get("$ref")
    return {**SCHEMA["$defs"][reference.removeprefix("#/$defs/")], **declared} if reference else declared


PROPERTIES = [pytest.param(declared, id=path) for path, declared in properties(SCHEMA)]


def validator_of(declared: dict[str, Any]) -> Draft202012Validator:
    """A validator of one property, with the definitions that it refers to."""
    return Draft202012Validator({"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], **declared})


def test_json_schema__is_valid_under_draft_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_json_schema__declares_exactly_the_fields_of_a_definition() -> None:
    assert SCHEMA["$defs"]["definition"]["properties"].keys() == FIELDS


@pytest.mark.parametrize("declared", PROPERTIES)
def test_json_schema__has_a_title_description_and_example_for_every_property(declared: dict[str, Any]) -> None:
    """Editors show them."""
    shown = resolved(declared)

    assert shown.get("title")
    assert shown["description"].endswith(".")
    assert shown["examples"]


@pytest.mark.parametrize("part", list(SCHEMA["$defs"]))
def test_json_schema__describes_every_shared_part(part: str) -> None:
    """Editors show the description where a property refers to the part."""
    declared = SCHEMA["$defs"][part]
    assert declared["title"]
    assert declared["description"].endswith(".")
    for example in declared["examples"]:
        validator_of(declared).validate(example)


@pytest.mark.parametrize("declared", PROPERTIES)
def test_json_schema__accepts_its_own_examples_and_defaults(declared: dict[str, Any]) -> None:
    shown = resolved(declared)

    for example in (*shown["examples"], *([shown["default"]] if "default" in shown else [])):
        validator_of(declared).validate(example)


@pytest.mark.parametrize("example", SCHEMA["$defs"]["definition"]["examples"])
def test_json_schema__has_an_example_that_the_service_accepts(example: dict[str, Any]) -> None:
    assert (
        parse_configuration(json.dumps({"Configurations": {"example": example}}))["example"].image == example["Image"]
    )


@pytest.mark.parametrize("field", sorted(FIELDS - {"Image"}))
def test_json_schema__has_examples_that_pass_the_checks_beyond_the_schema(field: str) -> None:
    for example in SCHEMA["$defs"]["definition"]["properties"][field]["examples"]:
        beside = {"Queue": "team-a"} if field in ("Priority", "PrioritiesWhitelist") else {}
        entry = {"Image": "busybox", **beside, field: example}
        parse_configuration(json.dumps({"Configurations": {"example": entry}}))


@pytest.mark.parametrize(
    "field", [name for name, declared in SCHEMA["$defs"]["definition"]["properties"].items() if "default" in declared]
)
def test_json_schema__declares_the_defaults_in_force(field: str) -> None:
    default = SCHEMA["$defs"]["definition"]["properties"][field]["default"]

    assert build_definition("a", {"Image": "busybox", field: default}) == build_definition("a", {"Image": "busybox"})


def test_json_schema__declares_the_security_defaults_in_force() -> None:
    declared = SCHEMA["$defs"]["securityContext"]["properties"]
    defaults = {name: shown["default"] for name, shown in declared.items() if "default" in shown}

    assert defaults.keys() == {"SupplementalGroups", "AllowPrivilegeEscalation", "Capabilities", "SeccompProfile"}
    assert build_security_context(defaults) == build_security_context({})


def test_json_schema__forbids_unknown_fields_in_every_object_but_those_of_kubernetes() -> None:
    """Kubernetes has more fields than the schema describes, and newer versions have others."""

    def closed(node: Any) -> Iterator[bool]:
        if isinstance(node, dict):
            if "properties" in node:
                yield node.get("additionalProperties") is False
            for inner in node.values():
                yield from closed(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from closed(inner)

    own = {name: part for name, part in SCHEMA["$defs"].items() if not name.startswith("template")}
    assert all(closed({**SCHEMA, "$defs": own}))


def test_json_schema__accepts_the_documented_configuration_in_a_plain_validator() -> None:
    Draft202012Validator(SCHEMA).validate(json.loads((SEED / "configuration.json").read_text("utf-8")))


def test_request_schema__has_only_fields_of_a_definition() -> None:
    """Fields that only the platform team sets are missing."""
    overridable = {declared.data_key for declared in RequestSchema().fields.values()}

    assert overridable == FIELDS - {
        "ImagesWhitelist",
        "EnvironmentsWhitelist",
        "Overridable",
        "Visibility",
        "NumberParallelJob",
        "MaxQueued",
        "Notify",
        "Queue",
        "PrioritiesWhitelist",
        "Command",
        "ServiceAccountName",
        "SecurityContext",
        "JobTemplate",
    }


def test_json_schema__lists_exactly_the_fields_of_a_request_as_overridable() -> None:
    fields = SCHEMA["$defs"]["definition"]["properties"]["Overridable"]["items"]
    assert fields["enum"] == list(REQUEST_FIELDS)
    assert fields["errorMessage"] == f"not a field of a request: {', '.join(fields['enum'])}"


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "A-1",
        "a" * 30,
        "a" * 31,
        "",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "a\n",
        "\u212a",
        "x-slimfaas-job-y",
        "x-SlimFaas-job-y",
    ],
)
def test_is_definition_name__agrees_with_the_json_schema(name: str) -> None:
    names = SCHEMA["properties"]["Configurations"]["propertyNames"]
    pattern = {**names, "pattern": names["pattern"].replace("$", r"\Z")}
    assert is_definition_name(name) == Draft202012Validator(pattern).is_valid(name)
