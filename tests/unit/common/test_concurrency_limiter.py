"""So many calls may wait at once, and no more."""

import pytest

from app.common.concurrency_limiter import BusyError, ConcurrencyLimiter


def test_a_call_without_a_place_is_refused() -> None:
    """It is told so, instead of holding a thread for as long as the others do."""
    limiter = ConcurrencyLimiter(places=2)
    with limiter.acquire(), limiter.acquire(), pytest.raises(BusyError), limiter.acquire():
        pytest.fail("a third call got in")


def test_a_place_is_free_again_after_a_call_however_it_ended() -> None:
    """A failed call takes no place with it."""
    limiter = ConcurrencyLimiter(places=1)
    for _ in range(3):
        with pytest.raises(LookupError), limiter.acquire():
            raise LookupError
    with limiter.acquire():
        pass


def test_a_gate_within_another_takes_a_place_of_both() -> None:
    """The many are kept out by the few only as far as these got in."""
    whole = ConcurrencyLimiter(places=3)
    part = ConcurrencyLimiter(places=1, within=whole)
    with part.acquire(), pytest.raises(BusyError), part.acquire():
        pytest.fail("a second call got into the part")
    with whole.acquire(), part.acquire(), whole.acquire(), pytest.raises(BusyError), whole.acquire():
        pytest.fail("a fourth call got into the whole")
    with whole.acquire(), whole.acquire(), whole.acquire(), pytest.raises(BusyError), part.acquire():
        pytest.fail("a call got past the whole")
    with part.acquire(), whole.acquire(), whole.acquire():
        pass
