"""The tables of docs/configuration.md, which are generated from the JSON Schema."""

import re

import pytest

from schemas.configuration import load_schema
from schemas.steering import STEERING_GROUPS
from tools.reference import PAGE, write_tables

DEFINITIONS = load_schema()["$defs"]


def test_reference_tables__are_up_to_date() -> None:
    """`make docs` generates them."""
    page = PAGE.read_text("utf-8")
    assert page == write_tables(page), "docs/configuration.md is stale: run `make docs`"


def test_reference_tables__exist_for_every_part_of_the_schema() -> None:
    named = set(re.findall(r"<!-- fields: ([\w/]+) -->", PAGE.read_text("utf-8")))
    assert {name for name, part in DEFINITIONS.items() if "properties" in part} <= named
    assert {"definition/Resources", "environment/FieldRef", "environment/ResourceFieldRef"} <= named


def test_write_tables__replaces_a_table_and_keeps_the_text_around_it() -> None:
    written = write_tables("before\n<!-- fields: keyReference -->\nold\n<!-- end -->\nafter\n")
    assert written.startswith("before\n<!-- fields: keyReference -->\n| field |")
    assert re.findall(r"^\| `(\w+)`", written, re.MULTILINE) == ["Name", "Key"]
    assert "old" not in written
    assert written.endswith("<!-- end -->\nafter\n")


def test_write_tables__writes_every_steering_variable() -> None:
    written = write_tables("<!-- steering -->\n<!-- end -->")
    for group in STEERING_GROUPS:
        assert all(f"`{pattern}`" in written for pattern in group.patterns)
    assert "<!-- steering -->" in PAGE.read_text("utf-8")


def test_write_tables__fails_for_an_unknown_mark() -> None:
    with pytest.raises(KeyError):
        write_tables("<!-- fields: nothing -->\n<!-- end -->")
