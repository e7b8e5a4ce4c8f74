"""Calls that last have so many places, and each is told when there is no more reason to go on."""

import threading

import pytest

from app.kube.cancel_token import CancelToken
from app.runs.limits.long_requests import LongRequestLimiter, TooManyLongRequestsError
from tests.support.threads import no_threads
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def streams() -> LongRequestLimiter:
    """Two places."""
    return LongRequestLimiter(2)


def stay() -> bool:
    return False


def test_a_call_without_a_place_is_refused_at_once(streams: LongRequestLimiter) -> None:
    """It is told so, and the others keep theirs."""
    with streams.acquire(stay) as first, streams.acquire(stay) as second:
        with pytest.raises(TooManyLongRequestsError), streams.acquire(stay):
            pytest.fail("a third call got in")
        assert not first.is_set
        assert not second.is_set


def test_no_place_at_all_is_a_setting_like_any_other() -> None:
    """Then nobody may wait or read logs."""
    with pytest.raises(TooManyLongRequestsError), LongRequestLimiter(0).acquire(stay):
        pytest.fail("a call got in")


def test_a_place_is_free_again_however_the_call_ended(streams: LongRequestLimiter) -> None:
    """A failed call takes no place with it."""
    for _ in range(5):
        with pytest.raises(LookupError), streams.acquire(stay):
            raise LookupError


def test_a_call_ends_when_its_time_is_up(streams: LongRequestLimiter) -> None:
    """And the other one goes on."""
    with streams.acquire(stay) as lasting, streams.acquire(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_a_call_ends_when_its_client_has_left(streams: LongRequestLimiter) -> None:
    """And the other one goes on."""
    left = threading.Event()
    with streams.acquire(stay) as lasting, streams.acquire(left.is_set) as leaving:
        assert not leaving.is_set
        left.set()
        assert leaving.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_all_calls_end_when_the_process_is_to_stop(streams: LongRequestLimiter) -> None:
    """Those that come later, too."""
    stopping = threading.Event()
    streams.stopping = stopping.is_set
    with streams.acquire(stay) as first, streams.acquire(stay, seconds=300) as second:
        stopping.set()
        assert first.wait(DEADLINE_SECONDS)
        assert second.wait(DEADLINE_SECONDS)
    with streams.acquire(stay) as late:
        assert late.wait(DEADLINE_SECONDS)


def test_a_call_that_finds_no_thread_takes_no_place_and_the_next_one_is_looked_after() -> None:
    """Also where that was the first of all."""
    streams = LongRequestLimiter(1)
    with no_threads(), pytest.raises(RuntimeError), streams.acquire(stay):
        pytest.fail("nobody looks after it")
    with streams.acquire(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)


def test_an_interrupt_stays_set() -> None:
    """Whoever waits for it later doesn't wait."""
    cancel_token = CancelToken()
    assert not cancel_token.wait(0)
    cancel_token.set()
    cancel_token.set()
    assert cancel_token.is_set
    assert cancel_token.wait(DEADLINE_SECONDS)
