"""How the waits of a backoff grow, and when they end."""

import pytest

from app.common.backoff import Backoff, jittered


def test_next__doubles_the_wait_up_to_the_limit() -> None:
    backoff, waits = Backoff(first_seconds=0.5, last_seconds=3.0), []
    for _ in range(5):
        backoff = backoff.next(now=100.0)
        waits.append((backoff.seconds, backoff.until))
    assert waits == [(0.5, 100.5), (1.0, 101.0), (2.0, 102.0), (3.0, 103.0), (3.0, 103.0)]


def test_next__never_waits_longer_than_the_limit_where_the_first_wait_is_longer() -> None:
    assert Backoff(first_seconds=5.0, last_seconds=2.0).next(now=0.0).seconds == 2.0


@pytest.mark.parametrize(("at_least_seconds", "until"), [(0.0, 101.0), (0.2, 101.0), (30.0, 130.0)])
def test_next__ends_no_sooner_than_the_minimum(at_least_seconds: float, until: float) -> None:
    assert Backoff(1.0, 8.0).next(100.0, at_least_seconds).until == until


def test_next__does_not_grow_from_a_minimum() -> None:
    """A server that asks for a long wait once does not make all later waits long."""
    backoff = Backoff(1.0, 8.0).next(100.0, at_least_seconds=60.0)
    assert backoff.next(200.0).until == 202.0


def test_next__leaves_the_value_as_it_is() -> None:
    backoff = Backoff(1.0, 8.0)
    backoff.next(100.0)
    assert backoff == Backoff(1.0, 8.0)


def test_reset__begins_anew_with_the_first_wait() -> None:
    backoff = Backoff(1.0, 8.0).next(100.0).next(101.0)
    assert backoff.reset() == Backoff(1.0, 8.0)
    assert backoff.reset().next(200.0).seconds == 1.0


def test_seconds_left__is_zero_before_a_failure_and_after_the_wait() -> None:
    backoff = Backoff(1.0, 8.0)
    assert backoff.seconds_left(100.0) == 0.0
    backoff = backoff.next(100.0)
    assert backoff.seconds_left(100.25) == 0.75
    assert backoff.seconds_left(101.0) == 0.0
    assert backoff.seconds_left(500.0) == 0.0


def test_jittered__spreads_waits_between_half_and_all() -> None:
    waits = [jittered(10.0) for _ in range(200)]
    assert all(5.0 <= wait <= 10.0 for wait in waits)
    assert max(waits) - min(waits) > 1.0
