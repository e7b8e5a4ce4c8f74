"""Pages: every run that stays is on exactly one of them, whatever comes and goes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runs.pagination import NotAContinuationError, QueueKey, TopN, read_continuation, write_continuation

PLACES = st.tuples(st.integers(0, 20), st.from_regex(r"[a-z]{1,3}", fullmatch=True))


def make_job(size: int = 0) -> dict[str, Any]:
    return {"metadata": {"managedFields": ["x" * 2_000_000]}, "padding": "x" * size}


def walk(places: list[QueueKey], count: int, size: int = 0) -> list[list[QueueKey]]:
    pages: list[list[QueueKey]] = []
    before = None
    while True:
        newest = TopN(count, before)
        for place in places:
            newest.offer(place, make_job(size))
        pages.append([place for place, _ in newest.jobs()])
        if not newest.left_some_out:
            return pages
        before = pages[-1][-1]


@given(st.lists(PLACES, unique=True), st.integers(1, 5))
def test_all_pages_together_are_all_runs_from_the_newest_to_the_oldest(places: list[QueueKey], count: int) -> None:
    """In whatever order Kubernetes lists them; every page but the last is full."""
    pages = walk(places, count)
    assert [place for page in pages for place in page] == sorted(places, reverse=True)
    assert all(len(page) == count for page in pages[:-1])


@given(st.lists(PLACES, unique=True, max_size=6))
def test_large_runs_make_short_pages(places: list[QueueKey]) -> None:
    """A page has a bounded size, and leaves nothing out for it."""
    pages = walk(places, 500, 400_000)
    assert [place for page in pages for place in page] == sorted(places, reverse=True)
    assert all(len(page) <= 2 for page in pages)


def test_one_run_is_shown_however_large_it_is() -> None:
    """Else nobody would get past it."""
    assert walk([(1, "a"), (2, "b")], 500, 3_000_000) == [[(2, "b")], [(1, "a")]]


@given(st.integers(-(10**17), 10**17), st.from_regex(r"[a-z0-9][a-z0-9.-]{0,252}", fullmatch=True))
def test_a_continuation_leads_back_to_its_place(queued_at: int, name: str) -> None:
    """And needs no quoting in a URL."""
    text = write_continuation((queued_at, name))
    assert read_continuation(text) == (queued_at, name)
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("text", ["", "a", "====", "Zm9v", "MSBB", "MSA", "é", "MSBh\n", "A" * 500, "MSBhYQ=="])
def test_what_is_no_continuation_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(NotAContinuationError):
        read_continuation(text)


@given(st.text(max_size=20))
def test_no_text_breaks_the_reading(text: str) -> None:
    """It is a continuation or it isn't."""
    try:
        place = read_continuation(text)
    except NotAContinuationError:
        return
    assert read_continuation(write_continuation(place)) == place
