"""Pages of runs: every run that stays is on exactly one page, whatever comes and goes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs.pagination import NotAContinuationError, QueueKey, TopN, read_continuation, write_continuation

KEYS = st.tuples(st.integers(0, 20), st.from_regex(r"[a-z]{1,3}", fullmatch=True))


def make_job(size: int = 0) -> dict[str, Any]:
    return {"padding": "x" * size}


def walk(keys: list[QueueKey], count: int, size: int = 0) -> list[list[QueueKey]]:
    pages: list[list[QueueKey]] = []
    before = None
    while True:
        newest = TopN(count, before)
        for key in keys:
            newest.offer(key, make_job(size))
        pages.append([key for key, _ in newest.jobs()])
        if not newest.older_exist:
            return pages
        before = pages[-1][-1]


def test_jobs__are_kept_as_text() -> None:
    """As objects they would take about seven times as much, of up to 500 runs."""
    newest = TopN(2, None)
    for number in range(3):
        newest.offer((number, "a"), {"number": number})
    assert newest.jobs() == [((2, "a"), '{"number": 2}'), ((1, "a"), '{"number": 1}')]


@given(st.lists(KEYS, unique=True), st.integers(1, 5))
def test_pages__hold_all_runs_from_the_newest_to_the_oldest(keys: list[QueueKey], count: int) -> None:
    """The order in which Kubernetes lists them does not matter. Every page but the last is full."""
    pages = walk(keys, count)
    assert [key for page in pages for key in page] == sorted(keys, reverse=True)
    assert all(len(page) == count for page in pages[:-1])


@given(st.lists(KEYS, unique=True, max_size=6))
def test_pages__of_large_runs_are_short_and_leave_nothing_out(keys: list[QueueKey]) -> None:
    pages = walk(keys, 500, 400_000)
    assert [key for page in pages for key in page] == sorted(keys, reverse=True)
    assert all(len(page) <= 2 for page in pages)


def test_pages__hold_one_run_of_any_size() -> None:
    """Otherwise no caller could page past it."""
    assert walk([(1, "a"), (2, "b")], 500, 3_000_000) == [[(2, "b")], [(1, "a")]]


@given(st.integers(-(10**17), 10**17), st.from_regex(r"[a-z0-9][a-z0-9.-]{0,252}", fullmatch=True))
def test_continuation__round_trips_and_needs_no_quoting_in_a_url(queued_at: int, name: str) -> None:
    text = write_continuation((queued_at, name))
    assert read_continuation(text) == (queued_at, name)
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("text", ["", "a", "====", "Zm9v", "MSBB", "MSA", "é", "MSBh\n", "A" * 500, "MSBhYQ=="])
def test_read_continuation__refuses_other_texts(text: str) -> None:
    with pytest.raises(NotAContinuationError):
        read_continuation(text)


@given(st.text(max_size=20))
def test_read_continuation__reads_or_refuses_any_text(text: str) -> None:
    try:
        key = read_continuation(text)
    except NotAContinuationError:
        return
    assert read_continuation(write_continuation(key)) == key
