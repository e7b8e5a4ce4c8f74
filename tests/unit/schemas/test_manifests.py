"""Configurations in files: as they are, or in the ConfigMaps of manifests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.faults import Refused
from schemas.manifests import Found, find_configurations

CONFIGURATION = '{"Configurations": {}}'


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_json_file_is_itself_the_configuration() -> None:
    """Its text is handed on untouched, so that repeated keys are still seen."""
    text = '{"Configurations": {}, "Configurations": {}}'

    assert find_configurations(text) == [Found("", text)]


def test_json_that_is_broken_is_left_to_the_reader_of_json() -> None:
    """It says what is wrong better than the reader of YAML."""
    assert find_configurations('{"Configurations": ]') == [Found("", '{"Configurations": ]')]


def test_every_config_map_with_either_key_is_found() -> None:
    """Over all documents of a file, in Lists, too; other objects and other keys are passed over."""
    one = config_map("one", SLIMFAAS_JOBS_CONFIGURATION=CONFIGURATION, other="x")
    two = config_map("two", SlimFaas__JobsConfiguration=CONFIGURATION)
    documents = [one, {"kind": "Service"}, {"kind": "List", "items": [two, config_map("three", other="x")]}, None]

    assert find_configurations("\n---\n".join(map(json.dumps, documents))) == [
        Found("ConfigMap one, SLIMFAAS_JOBS_CONFIGURATION", CONFIGURATION),
        Found("ConfigMap two, SlimFaas__JobsConfiguration", CONFIGURATION),
    ]


@pytest.mark.parametrize(
    "text", ["a: b: c", "\t- a", "? [a]\n: b", "*a", "!!int ''", "!!bool x", "!!timestamp x", "[" * 3000]
)
def test_what_is_neither_json_nor_yaml_is_refused(text: str) -> None:
    """Whatever the reader of YAML stumbles over is one fault, not a traceback."""
    with pytest.raises(Refused, match="neither JSON nor YAML: "):
        find_configurations(text)


@given(st.text("{}[]:-?&*!'\"#|>%@a1 \n\t\0\x85", max_size=20))
def test_any_text_is_searched_or_refused(text: str) -> None:
    """Nothing but Refused escapes."""
    try:
        find_configurations(text)
    except Refused as refused:
        str(refused).encode()
