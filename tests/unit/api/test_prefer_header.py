"""`Prefer: wait=N` is read as RFC 7240 says, and whatever else a header holds is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.params.prefer_header import MOST_SECONDS, parse_wait


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
def test_a_wait_is_found_wherever_it_stands(header: str, seconds: int) -> None:
    """Case, order, quotes, parameters and space don't matter; the longest wait is 300 s."""
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
def test_what_is_no_wait_is_ignored(header: str) -> None:
    """A preference is no demand: nobody is refused for it."""
    assert parse_wait(header) is None


def test_the_first_of_several_counts() -> None:
    """Also where it makes no sense, as RFC 7240, section 2, has it."""
    assert parse_wait("wait=5, wait=6") == 5
    assert parse_wait("wait=x, wait=6") is None


@given(st.text(max_size=200))
def test_any_header_can_be_read(header: str) -> None:
    """No header makes it fail, and no wait is longer than is allowed."""
    seconds = parse_wait(header)
    assert seconds is None or 0 <= seconds <= MOST_SECONDS


@given(st.integers(0, 10**6), st.lists(st.sampled_from(["a", "b=1", 'c="x, wait=1"', "d;e=f"]), max_size=4))
def test_other_preferences_change_nothing(number: int, others: list[str]) -> None:
    """Before it or after it."""
    wait = f"wait={number}"
    assert parse_wait(", ".join([*others, wait])) == parse_wait(", ".join([wait, *others])) == min(number, 300)
