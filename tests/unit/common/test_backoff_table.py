"""Backoffs by key."""

from app.common.backoff_table import BackoffTable


def test_fail__doubles_the_wait_of_each_key_up_to_the_limit() -> None:
    table = BackoffTable[str](0.5, 3.0)
    assert [table.fail("a", 0.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert table.fail("b", 0.0) == 0.5


def test_fail__keeps_to_the_bounds_of_one_wait() -> None:
    """A Retry-After of ten seconds says nothing about the next failure."""
    table = BackoffTable[str](0.5, 30.0)
    assert table.fail("a", 0.0, at_least=10) == 10
    assert table.is_waiting("a", 9.9)
    assert not table.is_waiting("a", 10)
    assert table.fail("a", 16) == 1.0
    assert table.fail("a", 16, at_most=0.25) == 0.25


def test_succeed__begins_anew() -> None:
    table = BackoffTable[str](0.5, 30.0)
    table.fail("a", 0.0)
    table.succeed("a")
    assert not table.is_waiting("a", 0.0)
    assert table.fail("a", 0.0) == 0.5


def test_keep__forgets_all_other_keys() -> None:
    table = BackoffTable[str](0.5, 30.0)
    table.fail("a", 0.0)
    table.fail("b", 0.0)
    table.keep({"a"})
    assert not table.is_waiting("b", 0.0)
    assert table.is_waiting("a", 0.0)


def test_seconds_left__is_until_the_next_end_of_a_wait() -> None:
    table = BackoffTable[str](1.0, 30.0)
    assert table.seconds_left(0.0) == float("inf")
    table.fail("a", 0.0)
    table.fail("b", 0.5)
    assert table.seconds_left(0.75) == 0.25
    assert table.seconds_left(2.0) == float("inf")
