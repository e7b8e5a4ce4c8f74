"""The tables of docs/configuration.md are those that the JSON Schema makes."""

import re

import pytest

from schemas.configuration import load_schema
from tools.reference import PAGE, write_tables

DEFINITIONS = load_schema()["$defs"]


def test_the_tables_are_up_to_date() -> None:
    """`make docs` brings them up to date."""
    page = PAGE.read_text("utf-8")
    assert page == write_tables(page), "docs/configuration.md is stale: run `make docs`"


def test_every_part_of_the_schema_with_fields_has_a_table() -> None:
    """None is forgotten when one is added."""
    named = set(re.findall(r"<!-- fields: ([\w/]+) -->", PAGE.read_text("utf-8")))
    assert {name for name, part in DEFINITIONS.items() if "properties" in part} <= named
    assert {"definition/Resources", "environment/FieldRef", "environment/ResourceFieldRef"} <= named


def test_a_stale_table_is_written_anew_and_what_is_around_it_is_kept() -> None:
    """With each field once, in the schema's order."""
    written = write_tables("before\n<!-- fields: keyReference -->\nold\n<!-- end -->\nafter\n")
    assert written.startswith("before\n<!-- fields: keyReference -->\n| field |")
    assert re.findall(r"^\| `(\w+)`", written, re.MULTILINE) == ["Name", "Key"]
    assert "old" not in written
    assert written.endswith("<!-- end -->\nafter\n")


def test_a_mark_that_names_nothing_is_an_error() -> None:
    """Rather than an empty table."""
    with pytest.raises(KeyError):
        write_tables("<!-- fields: nothing -->\n<!-- end -->")
