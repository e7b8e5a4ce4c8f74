"""What time it is at the API server, whatever our own clock says."""

import pytest

from app.kube.clock import ServerClock

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
AT_NOON = "Thu, 01 Jan 2026 12:00:00 GMT"


class Monotonic:
    """A clock that the test moves."""

    def __init__(self) -> None:
        """Begin at any time."""
        self.now = 7.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_now__continues_from_the_last_response() -> None:
    """Ours is an hour ahead here."""
    monotonic = Monotonic()
    clock = ServerClock(monotonic, lambda: NOON + 3600)
    assert clock.now() == NOON + 3600, "nothing else is known yet"
    clock.note(AT_NOON)
    monotonic.now += 90
    assert clock.now() == NOON + 90


def test_now__ignores_a_single_deviating_response() -> None:
    """A load balancer whose clock is wrong may answer now and then; two in a row that agree are believed."""
    clock = ServerClock(Monotonic(), lambda: NOON)
    clock.note(AT_NOON)
    clock.note("Thu, 01 Jan 2026 12:10:00 GMT")
    assert clock.now() == NOON
    clock.note(AT_NOON)
    clock.note("Thu, 01 Jan 2026 12:20:00 GMT")
    assert clock.now() == NOON
    clock.note("Thu, 01 Jan 2026 12:20:03 GMT")
    assert clock.now() == NOON + 1203


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 99999 12:00:00"])
def test_now__ignores_a_missing_or_invalid_date(date: str | None) -> None:
    """A proxy may leave it out, or write anything."""
    clock = ServerClock(Monotonic(), lambda: NOON)
    clock.note(AT_NOON)
    clock.note(date)
    assert clock.now() == NOON


def test_silent_seconds__counts_from_the_last_response() -> None:
    """With a time or without."""
    monotonic = Monotonic()
    clock = ServerClock(monotonic, lambda: NOON)
    assert clock.silent_seconds == float("inf")
    clock.note(None)
    monotonic.now += 5
    assert clock.silent_seconds == 5
