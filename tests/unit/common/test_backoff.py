"""Growing pauses."""

from app.common.backoff import Backoff


def test_fail__doubles_the_pause_up_to_the_last_one() -> None:
    """Each key for itself."""
    backoff = Backoff[str](0.5, 3.0)
    assert [backoff.fail("a", 0.0) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.fail("b", 0.0) == 0.5


def test_fail__waits_for_as_long_as_it_is_asked_to_and_grows_no_faster() -> None:
    """A Retry-After of ten seconds says nothing about the next failure."""
    backoff = Backoff[str](0.5, 30.0)
    assert backoff.fail("a", 0.0, at_least=10) == 10
    assert backoff.is_pausing("a", 9.9)
    assert not backoff.is_pausing("a", 10)
    assert backoff.fail("a", 10) == 1.0
    assert backoff.fail("a", 10, at_most=0.1) == 0.1


def test_succeed__forgets_the_key() -> None:
    """The next failure begins with the first pause again."""
    backoff = Backoff[str](0.5, 30.0)
    backoff.fail("a", 0.0)
    backoff.fail("b", 0.0)
    backoff.succeed("a")
    assert not backoff.is_pausing("a", 0.0)
    assert backoff.fail("a", 0.0) == 0.5
    backoff.keep({"a"})
    assert "b" not in backoff


def test_seconds_left__tells_the_next_end_of_a_pause() -> None:
    """Infinite where there is none."""
    backoff = Backoff[str](1.0, 30.0)
    assert backoff.seconds_left(0.0) == float("inf")
    backoff.fail("a", 0.0)
    backoff.fail("b", 0.5)
    assert backoff.seconds_left(0.75) == 0.25
    assert backoff.seconds_left(2.0) == float("inf")
