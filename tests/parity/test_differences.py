"""The list of deliberate differences: it is documented, and every difference still exists."""

import re
from pathlib import Path

import pytest

from tests.parity.comparison import differing_facts, unknown_differences
from tests.parity.conftest import COMPARES, Play, play_until_alike
from tests.parity.differences import DIFFERENCES, Difference

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.what)
def test_difference__is_documented(difference: Difference) -> None:
    """With the reason, in the words of the list."""
    rows = [re.sub(r"\s+", " ", line) for line in _PAGE.read_text("utf-8").splitlines()]
    assert f"| {difference.what} | {difference.why} |" in rows


@COMPARES
@pytest.mark.parametrize(
    "difference", [known for known in DIFFERENCES if known.path], ids=lambda difference: difference.what
)
def test_difference__still_exists(play: Play, difference: Difference) -> None:
    """A difference that no longer exists must be removed from the list."""
    assert difference.path is not None
    real, embedded = play(*difference.shown_by)
    assert any(re.search(difference.path, fact) for fact, _ in differing_facts(real, embedded))


@pytest.mark.parametrize(
    ("embedded", "differs", "again"),
    [(["a"], False, 0), (["b", "a"], False, 1), (["b", "c", "a"], False, 2), (["b", "b", "b", "a"], True, 2)],
)
def test_case__is_played_again__until_the_servers_are_alike(embedded: list[str], differs: bool, again: int) -> None:
    """A difference counts if it shows three times."""
    responses = iter(embedded)
    found, times = play_until_alike(lambda: [[{"x": "a"}], [{"x": next(responses)}]], unknown_differences)
    assert (bool(found), times) == (differs, again)
