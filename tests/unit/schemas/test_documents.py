"""Reading JSON strictly, whatever bytes arrive."""

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
def test_any_bytes_are_read_or_refused_as_no_json(body: bytes) -> None:
    """Whatever is sent, parse returns or raises NotJson: nothing else escapes."""
    try:
        parse(body)
    except NotJson as error:
        str(error).encode("utf-8")


@given(JSON)
def test_any_json_is_read_as_python_reads_it(value: object) -> None:
    """What is one JSON document to everybody keeps its value, from bytes and from text alike."""
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
def test_what_is_no_json_document_is_refused(body: bytes) -> None:
    """Comments, trailing commas, NaN, other encodings, endless digits and endless nesting are all no JSON."""
    with pytest.raises(NotJson):
        parse(body)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["list", "object"])
def test_nesting_is_bounded_exactly(opening: str, closing: str) -> None:
    """A document of MAX_DEPTH levels is read, one of a level more is not; neither exhausts the stack."""
    parse(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)

    with pytest.raises(NotJson, match="nested deeper"):
        parse(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize("depth", [900, 1000, 2000, 30_000])
def test_nesting_around_the_interpreters_own_bound_is_no_json(depth: int) -> None:
    """Whoever meets the depth first, the decoder or ours, the answer is the same."""
    with pytest.raises(NotJson, match="nested deeper"):
        parse(b"[" * depth + b"]" * depth)


def test_a_key_given_twice_is_a_fault_at_its_place() -> None:
    """Readers differ in which of the two they take, so neither is taken silently; each key is named once."""
    _, faults = parse('{"a": [{"b": 1, "b": 1, "b": 2, "c": 1}], "d/": 1, "d/": 2}')

    assert sorted(faults) == [Fault("/a/0/b", "given more than once"), Fault("/d~1", "given more than once")]


def test_two_spellings_of_one_key_are_one_key() -> None:
    """Escapes don't hide a repetition."""
    _, faults = parse(r'{"Image": "a", "\u0049mage": "b"}')

    assert faults == [Fault("/Image", "given more than once")]


@pytest.mark.parametrize("escape", ["\\u0000", "a\\u0000b"])
def test_a_nul_is_a_fault_in_values_and_in_keys(escape: str) -> None:
    """No process environment, argument or Kubernetes name can hold one."""
    _, faults = parse(f'{{"k": ["{escape}"]}}')
    assert faults == [Fault("/k/0", "contains a NUL character")]

    _, faults = parse(f'{{"{escape}": 1}}')
    assert [fault.message for fault in faults] == ["contains a NUL character"]


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "x\\udfff", "\\udc00\\ud800"])
def test_half_a_surrogate_pair_is_a_fault_that_can_be_answered(escape: str) -> None:
    """It can't be sent on as UTF-8; the fault about it can."""
    _, faults = parse(f'{{"v": "{escape}", "{escape}": 1}}')

    assert len(faults) == 2
    for fault in faults:
        assert "surrogate" in fault.message
        (fault.pointer + fault.message).encode("utf-8")


def test_a_whole_surrogate_pair_is_a_character_like_any_other() -> None:
    """JSON's way to write characters beyond the first plane is no fault."""
    assert parse(r'"\ud83d\ude00"') == ("\U0001f600", [])


def test_text_that_the_environment_could_not_decode_is_a_fault() -> None:
    """A byte of a variable that isn't UTF-8 reaches Python as half a surrogate pair; it is found, not passed on."""
    _, faults = parse(b'["\xff"]'.decode("utf-8", "surrogateescape"))

    assert [fault.pointer for fault in faults] == ["/0"]
