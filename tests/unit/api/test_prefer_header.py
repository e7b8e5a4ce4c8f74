"""`Prefer: wait=N` is parsed as in RFC 7240; other preferences are ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.params.prefer_header import MAX_WAIT_SECONDS, parse_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10),
        ("wait=0", 0),
        ("wait=00000000000000000007", 7),
        ("Wait=10", 10),
        ('wait="10"', 10),
        ('wait="1\\0"', 10),
        ("  wait = 10  ", 10),
        ("respond-async, wait=10", 10),
        ("wait=10;why=so, handling=lenient", 10),
        ('x="a, wait=5", wait=7', 7),
        ('x="a\\", wait=5", wait=7', 7),
        ("x;wait=5, wait=7", 7),
        (",,wait=7,", 7),
        ("wait=300", 300),
        ("wait=301", 300),
        ("wait=" + "9" * 5000, 300),
    ],
)
def test_parse_wait__finds_the_preference_in_any_valid_form(header: str, seconds: int) -> None:
    """Case, order, quotes, parameters and space do not matter; the longest wait is 300 s."""
    assert parse_wait(header) == seconds


@pytest.mark.parametrize(
    "header",
    [
        "",
        "wait",
        "wait=",
        'wait=""',
        "wait=-1",
        "wait=+1",
        "wait=1.5",
        "wait=1s",
        "wait=\u0661",
        "await=5",
        "wait5",
        "respond-async",
        'x="wait=5"',
        "wait=1 2",
        "wait:5",
        "=5",
        '"wait"=5',
    ],
)
def test_parse_wait__ignores_other_and_malformed_preferences(header: str) -> None:
    assert parse_wait(header) is None


def test_parse_wait__uses_the_first_of_several() -> None:
    """Even if the first one is malformed (RFC 7240, section 2)."""
    assert parse_wait("wait=5, wait=6") == 5
    assert parse_wait("wait=x, wait=6") is None


@pytest.mark.parametrize(
    "header",
    [
        '"' + '\\"' * 500_000,
        '"' + '\\"' * 500_000 + "\\",
        "wait" + " " * 1_000_000 + "x",
        "wait=" + " " * 1_000_000 + "x",
        "wait=" + '"' * 1_000_001,
        ",".join(["wait" + " " * 8000 + "x"] * 100),
    ],
    ids=[
        "quote without an end",
        "the same with a backslash at the end",
        "spaces",
        "spaces in the value",
        "quotes",
        "many elements",
    ],
)
def test_parse_wait__looks_at_each_character_once(header: str) -> None:
    """Backtracking would take hours here, and seconds with the longest header that the server accepts."""
    assert parse_wait(header) is None


@given(st.text(max_size=200))
def test_parse_wait__accepts_any_text(header: str) -> None:
    seconds = parse_wait(header)
    assert seconds is None or 0 <= seconds <= MAX_WAIT_SECONDS


@given(st.integers(0, 10**6), st.lists(st.sampled_from(["a", "b=1", 'c="x, wait=1"', "d;e=f"]), max_size=4))
def test_parse_wait__is_independent_of_other_preferences(number: int, others: list[str]) -> None:
    wait = f"wait={number}"
    assert parse_wait(", ".join([*others, wait])) == parse_wait(", ".join([wait, *others])) == min(number, 300)
