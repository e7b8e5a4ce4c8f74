"""`schemas.documents`: strict parsing of JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.documents import MAX_DEPTH, NotJson, parse
from schemas.faults import Fault

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_parse__returns_or_raises_not_json_for_any_bytes(body: bytes) -> None:
    """No other exception is raised."""
    try:
        parse(body)
    except NotJson as error:
        str(error).encode("utf-8")


@given(JSON)
def test_parse__returns_the_same_value_as_json_loads(value: object) -> None:
    text = json.dumps(value)
    expected = json.loads(text)

    assert parse(text)[0] == expected
    assert parse(text.encode())[0] == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"Args": ["42"] # a comment\n}',
        b'{"Args": ["42"],}',
        b"{'Args': []}",
        b"Args=42",
        b"{} {}",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"\xff\xfe{\x00}\x00",
        b'"\xed\xa0\x80"',
        b'"\xc3"',
        b"\xef\xbb\xbf{}",
        b'"\n"',
        b"01",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_parse__refuses_what_is_not_json(body: bytes) -> None:
    """Comments, trailing commas, NaN, other encodings, endless digits and endless nesting."""
    with pytest.raises(NotJson):
        parse(body)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["list", "object"])
def test_parse__accepts_max_depth_levels_and_no_more(opening: str, closing: str) -> None:
    parse(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)

    with pytest.raises(NotJson, match="nested deeper"):
        parse(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize("depth", [900, 1000, 2000, 30_000])
def test_parse__refuses_nesting_around_the_recursion_limit(depth: int) -> None:
    with pytest.raises(NotJson, match="nested deeper"):
        parse(b"[" * depth + b"]" * depth)


def test_parse__reports_a_key_that_an_object_has_twice() -> None:
    """Parsers differ in which value they take. Each key is named once."""
    _, faults = parse('{"a": [{"b": 1, "b": 1, "b": 2, "c": 1}], "d/": 1, "d/": 2}')

    assert sorted(faults) == [Fault("/a/0/b", "given more than once"), Fault("/d~1", "given more than once")]


def test_parse__reports_a_key_that_is_repeated_with_escapes() -> None:
    _, faults = parse(r'{"Image": "a", "\u0049mage": "b"}')

    assert faults == [Fault("/Image", "given more than once")]


@pytest.mark.parametrize("escape", ["\\u0000", "a\\u0000b"])
def test_parse__reports_nul_characters_in_values_and_keys(escape: str) -> None:
    """No environment variable, argument or Kubernetes name can contain one."""
    _, faults = parse(f'{{"k": ["{escape}"]}}')
    assert faults == [Fault("/k/0", "contains a NUL character")]

    _, faults = parse(f'{{"{escape}": 1}}')
    assert [fault.message for fault in faults] == ["contains a NUL character"]


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "x\\udfff", "\\udc00\\ud800"])
def test_parse__reports_half_of_a_surrogate_pair_in_valid_utf_8(escape: str) -> None:
    _, faults = parse(f'{{"v": "{escape}", "{escape}": 1}}')

    assert len(faults) == 2
    for fault in faults:
        assert "surrogate" in fault.message
        (fault.pointer + fault.message).encode("utf-8")


def test_parse__accepts_a_whole_surrogate_pair() -> None:
    assert parse(r'"\ud83d\ude00"') == ("\U0001f600", [])


def test_parse__reports_bytes_of_a_variable_that_are_not_utf_8() -> None:
    """Python decodes each to half of a surrogate pair."""
    _, faults = parse(b'["\xff"]'.decode("utf-8", "surrogateescape"))

    assert [fault.pointer for fault in faults] == ["/0"]
