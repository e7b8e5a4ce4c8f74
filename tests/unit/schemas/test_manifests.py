"""`schemas.manifests`: configurations in JSON files and in manifests."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.faults import Refused
from schemas.manifests import find_configurations

CONFIGURATION = '{"Configurations": {}}'


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def found_in(text: str, **options: Any) -> list[tuple[str, str]]:
    """Place and document of each configuration."""
    return [(found.place, found.document) for found in find_configurations(text, **options)]


def test_find_configurations__returns_a_json_file_unchanged() -> None:
    """So that repeated keys are still found."""
    text = '{"Configurations": {}, "Configurations": {}}'

    assert found_in(text) == [("", text)]


def test_find_configurations__returns_malformed_json_unchanged() -> None:
    """The JSON parser's message is better than that of YAML."""
    assert found_in('{"Configurations": ]') == [("", '{"Configurations": ]')]


def test_find_configurations__finds_every_config_map_with_either_key() -> None:
    """In all documents and in lists; other objects and keys are skipped."""
    one = config_map("one", SLIMFAAS_JOBS_CONFIGURATION=CONFIGURATION, other="x")
    two = config_map("two", SlimFaas__JobsConfiguration=CONFIGURATION)
    documents = [one, {"kind": "Service"}, {"kind": "List", "items": [two, config_map("three", other="x")]}, None]

    assert found_in("\n---\n".join(map(json.dumps, documents))) == [
        ("ConfigMap one, SLIMFAAS_JOBS_CONFIGURATION", CONFIGURATION),
        ("ConfigMap two, SlimFaas__JobsConfiguration", CONFIGURATION),
    ]


@pytest.mark.parametrize(
    "text", ["a: b: c", "\t- a", "? [a]\n: b", "*a", "!!int ''", "!!bool x", "!!timestamp x", "[" * 3000]
)
def test_find_configurations__refuses_what_is_neither_json_nor_yaml(text: str) -> None:
    with pytest.raises(Refused, match="neither JSON nor YAML: "):
        find_configurations(text)


def test_find_configurations__expands_no_yaml_aliases() -> None:
    """A list can contain others many times, or itself."""
    lists = ["x0: &x0 {kind: List, items: [&found {kind: ConfigMap, data: {SlimFaas__JobsConfiguration: here}}]}"]
    names = ["y0: &y0 [lol]"]
    for level in range(1, 30):
        lists.append(f"x{level}: &x{level} {{kind: List, items: [{', '.join([f'*x{level - 1}'] * 9)}]}}")
        names.append(f"y{level}: &y{level} [{', '.join([f'*y{level - 1}'] * 9)}]")
    named = "{kind: ConfigMap, metadata: {name: *y29, namespace: *y29}, data: {SlimFaas__JobsConfiguration: there}}"
    text = "\n".join(["&all", "kind: List", *lists, *names, f"z: &named {named}", "items: [*all, *x29, *named]"])

    assert found_in(text) == [
        ("ConfigMap (without a name), SlimFaas__JobsConfiguration", "here"),
        ("ConfigMap ?/?, SlimFaas__JobsConfiguration", "there"),
    ]


@given(st.text("{}[]:-?&*!'\"#|>%@a1 \n\t\0\x85", max_size=20))
def test_find_configurations__returns_or_refuses_any_text(text: str) -> None:
    """No other exception is raised."""
    try:
        find_configurations(text)
    except Refused as refused:
        str(refused).encode()


def test_find_configurations__checks_additional_keys() -> None:
    text = json.dumps(config_map("one", **{"jobs.json": CONFIGURATION}))

    assert found_in(text) == []
    assert found_in(text, keys=("jobs.json",)) == [("ConfigMap one, jobs.json", CONFIGURATION)]


@pytest.mark.parametrize(
    ("value", "document"), [(base64.b64encode(CONFIGURATION.encode()).decode(), CONFIGURATION), ("?", ""), (None, "")]
)
def test_find_configurations__decodes_binary_data(value: str | None, document: str) -> None:
    """`kubectl` uses it for characters that YAML cannot contain."""
    config = {"kind": "ConfigMap", "immutable": True, "binaryData": {"SLIMFAAS_JOBS_CONFIGURATION": value}}

    assert found_in(json.dumps(config)) == [("ConfigMap (without a name), SLIMFAAS_JOBS_CONFIGURATION", document)]


def test_find_configurations__finds_items_without_a_kind_in_a_typed_list() -> None:
    """The API server writes lists of ConfigMaps like that."""
    item = {"metadata": {"name": "one"}, "data": {"SLIMFAAS_JOBS_CONFIGURATION": CONFIGURATION}}

    assert len(found_in(json.dumps({"kind": "ConfigMapList", "items": [item, None]}))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "a: [",
        "just words",
        '{"name": "x", "Configurations": 1}',
        "kind: A\nConfigurations: {}",
        "Configurations: 1",
    ],
)
def test_find_configurations__ignores_unrelated_files(text: str) -> None:
    """Such as a package.json, or a template that is not YAML."""
    assert found_in(text, ignore_unrelated=True) == []


@pytest.mark.parametrize("text", [CONFIGURATION, "{{ a }}\nSLIMFAAS_JOBS_CONFIGURATION: x", '{"Configurations": ]'])
def test_find_configurations__does_not_ignore_files_that_mention_a_configuration(text: str) -> None:
    try:
        assert found_in(text, ignore_unrelated=True) == [("", text)]
    except Refused as refusal:
        assert "neither JSON nor YAML" in str(refusal)  # noqa: PT017 - either is right, silence isn't


def test_find_configurations__returns_the_line_at_which_each_text_begins() -> None:
    """Only a literal block has the file's own lines."""
    block = "kind: ConfigMap\ndata:\n  # why\n  SLIMFAAS_JOBS_CONFIGURATION: |\n    {}\n"
    quoted = "kind: ConfigMap\ndata:\n  SLIMFAAS_JOBS_CONFIGURATION:\n    '{}'\n"

    (literal,), (folded,) = find_configurations(block), find_configurations(quoted)
    assert (literal.line, literal.is_verbatim) == (5, True)
    assert (folded.line, folded.is_verbatim) == (4, False)
