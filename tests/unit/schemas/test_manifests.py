"""Configurations in files: as they are, or in the ConfigMaps of manifests."""

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


def test_a_json_file_is_itself_the_configuration() -> None:
    """Its text is handed on untouched, so that repeated keys are still seen."""
    text = '{"Configurations": {}, "Configurations": {}}'

    assert found_in(text) == [("", text)]


def test_json_that_is_broken_is_left_to_the_reader_of_json() -> None:
    """It says what is wrong better than the reader of YAML."""
    assert found_in('{"Configurations": ]') == [("", '{"Configurations": ]')]


def test_every_config_map_with_either_key_is_found() -> None:
    """Over all documents of a file, in Lists, too; other objects and other keys are passed over."""
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
def test_what_is_neither_json_nor_yaml_is_refused(text: str) -> None:
    """Whatever the reader of YAML stumbles over is one fault, not a traceback."""
    with pytest.raises(Refused, match="neither JSON nor YAML: "):
        find_configurations(text)


def test_aliases_make_nothing_large_of_a_small_file() -> None:
    """Neither a list that holds others many times over, or itself, nor a name that isn't one, is written out."""
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
def test_any_text_is_searched_or_refused(text: str) -> None:
    """Nothing but Refused escapes."""
    try:
        find_configurations(text)
    except Refused as refused:
        str(refused).encode()


def test_a_key_of_another_name_is_looked_at_when_it_is_named() -> None:
    """A ConfigMap that is mounted as a file names its key as it likes."""
    text = json.dumps(config_map("one", **{"jobs.json": CONFIGURATION}))

    assert found_in(text) == []
    assert found_in(text, keys=("jobs.json",)) == [("ConfigMap one, jobs.json", CONFIGURATION)]


@pytest.mark.parametrize(
    ("value", "document"), [(base64.b64encode(CONFIGURATION.encode()).decode(), CONFIGURATION), ("?", ""), (None, "")]
)
def test_binary_data_is_decoded(value: str | None, document: str) -> None:
    """Kubectl writes there what has a character that YAML can't hold; what is no base64 is no JSON either."""
    config = {"kind": "ConfigMap", "immutable": True, "binaryData": {"SLIMFAAS_JOBS_CONFIGURATION": value}}

    assert found_in(json.dumps(config)) == [("ConfigMap (without a name), SLIMFAAS_JOBS_CONFIGURATION", document)]


def test_the_items_of_a_typed_list_need_no_kind() -> None:
    """So the API server answers a list of ConfigMaps."""
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
def test_a_file_of_any_sort_may_be_anything(text: str) -> None:
    """A package.json is no faulty configuration, and neither is a template that isn't YAML."""
    assert found_in(text, ignore_unrelated=True) == []


@pytest.mark.parametrize("text", [CONFIGURATION, "{{ a }}\nSLIMFAAS_JOBS_CONFIGURATION: x", '{"Configurations": ]'])
def test_a_file_of_any_sort_that_mentions_a_configuration_is_read(text: str) -> None:
    """What can't be read there is no reason to say that all is right."""
    try:
        assert found_in(text, ignore_unrelated=True) == [("", text)]
    except Refused as refusal:
        assert "neither JSON nor YAML" in str(refusal)  # noqa: PT017 - either is right, silence isn't


def test_lines_are_told_where_the_file_has_them() -> None:
    """A literal block has the file's own lines; any other text begins somewhere and is folded as YAML likes."""
    block = "kind: ConfigMap\ndata:\n  # why\n  SLIMFAAS_JOBS_CONFIGURATION: |\n    {}\n"
    quoted = "kind: ConfigMap\ndata:\n  SLIMFAAS_JOBS_CONFIGURATION:\n    '{}'\n"

    (literal,), (folded,) = find_configurations(block), find_configurations(quoted)
    assert (literal.line, literal.is_verbatim) == (5, True)
    assert (folded.line, folded.is_verbatim) == (4, False)
