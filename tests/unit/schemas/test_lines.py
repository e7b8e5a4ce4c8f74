"""`schemas.lines`: the line of a JSON pointer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.faults import pointer_to
from schemas.lines import find_line

DOCUMENT = '{\n  "a": [\n    1,\n    {"b/c":\n      {"~": 2}}\n  ],\n\n  "d": {}\n}\n'


@pytest.mark.parametrize(
    ("pointer", "line"),
    [("", 0), ("/a", 1), ("/a/0", 2), ("/a/1/b~1c", 3), ("/a/1/b~1c/~0", 4), ("/d", 7), ("/d/missing", 7), ("/a/9", 1)],
)
def test_find_line__returns_the_line_of_a_pointer(pointer: str, line: int) -> None:
    """For a missing field, the line of the object that lacks it."""
    assert find_line(DOCUMENT, pointer) == line


@pytest.mark.parametrize(
    "document",
    ["{", "", "[" * 5000, '{"a":\t1,\n\t"b": 2}', "\0"],
    ids=["open", "empty", "deep", "tabs", "control character"],
)
def test_find_line__raises_nothing_for_json_that_is_not_yaml(document: str) -> None:
    assert find_line(document, "/b") in (0, 1)


@given(st.recursive(st.none() | st.booleans(), lambda inner: st.dictionaries(st.text("ab/~: '#-", max_size=3), inner)))
def test_find_line__finds_every_key_of_indented_json(document: object) -> None:
    text = json.dumps(document, indent=1)
    lines = text.splitlines()

    def check(value: object, path: tuple[str, ...]) -> None:
        for key, inner in value.items() if isinstance(value, dict) else ():
            assert lines[find_line(text, pointer_to(*path, key))].strip().startswith(json.dumps(key))
            check(inner, (*path, key))

    check(document, ())
