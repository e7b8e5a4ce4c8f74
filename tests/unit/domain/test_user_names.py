"""Users' names as one word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.user_names import MAX_LENGTH, read_user_name, write_user_name

_NAMES = st.text(max_size=400) | st.text("\\u{}sha256:0", max_size=300)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("system:serviceaccount:shop:caller", "system:serviceaccount:shop:caller"),
        ("oidc:jürgen@shop.example", "oidc:jürgen@shop.example"),
        ("two words", r"two\u{20}words"),
        ("a\nPOST status=200 user=b", r"a\u{a}POST\u{20}status=200\u{20}user=b"),
        ("a\u2028b\u202eb", r"a\u{2028}b\u{202e}b"),
        (r"a\u{a}", r"a\u{5c}u{a}"),
        ("\ud800", r"\u{d800}"),
    ],
)
def test_write_user_name__escapes_what_is_no_visible_character(name: str, written: str) -> None:
    assert write_user_name(name) == written


@given(_NAMES)
def test_written_name__is_one_bounded_word_that_is_read_back(name: str) -> None:
    written = write_user_name(name)
    assert len(written) <= MAX_LENGTH
    assert written.split() == ([written] if name else [])
    assert written.isprintable()
    assert read_user_name(written) == written


@given(_NAMES, _NAMES)
def test_written_names__differ_if_names_differ(one: str, other: str) -> None:
    assert (write_user_name(one) == write_user_name(other)) == (one == other)


def test_long_names__with_the_same_beginning_differ() -> None:
    """Nor can a short name look like a long one that was cut."""
    long = "a" * 300
    assert write_user_name(long) != write_user_name(long + "b")
    assert write_user_name(long).startswith("aaa")
    assert write_user_name(write_user_name(long)) != write_user_name(long)


@pytest.mark.parametrize("text", [None, 5, "two words", "a\nb", "\\n", "a" * 257, "\u202e"])
def test_read_user_name__ignores_what_was_not_written_here(text: object) -> None:
    """Whoever may edit Jobs may write anything."""
    assert read_user_name(text) == ""
