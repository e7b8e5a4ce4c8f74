"""How many long requests there may be, and when each is told to end."""

import threading
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from app.kube.cancel_token import CancelToken
from app.runs.limits.long_requests import LongRequestLimiter, TooManyLongRequestsError, Trust
from tests.support.threads import no_threads
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def limiter() -> LongRequestLimiter:
    """Two at the same time."""
    return LongRequestLimiter(2)


def stay() -> bool:
    return False


def count_accepted(limiter: LongRequestLimiter, stack: ExitStack, *, trusted: bool) -> int:
    """Start long requests until one is refused; returns how many were not."""
    for count in range(100):
        try:
            stack.enter_context(limiter.acquire(stay, trust=Trust(known=trusted)))
        except TooManyLongRequestsError:
            return count
    pytest.fail("none is refused")


def test_acquire__refuses_a_request_over_the_limit(limiter: LongRequestLimiter) -> None:
    with limiter.acquire(stay) as first, limiter.acquire(stay) as second:
        with pytest.raises(TooManyLongRequestsError), limiter.acquire(stay):
            pytest.fail("a third request was accepted")
        assert not first.is_set
        assert not second.is_set


def test_acquire__refuses_all_where_the_limit_is_zero() -> None:
    with pytest.raises(TooManyLongRequestsError), LongRequestLimiter(0).acquire(stay):
        pytest.fail("a request was accepted")


@pytest.mark.parametrize("crowd", [True, False])
def test_acquire__keeps_a_quarter_for_trusted_and_for_other_callers(*, crowd: bool) -> None:
    limiter = LongRequestLimiter(25, reserve=lambda: True)
    with ExitStack() as stack:
        assert count_accepted(limiter, stack, trusted=crowd) == 19
        assert count_accepted(limiter, stack, trusted=not crowd) == 6


def test_acquire__looks_a_caller_up_only_where_strangers_have_no_place() -> None:
    """Whoever turns out to be trusted gets a place of trusted callers."""
    limiter = LongRequestLimiter(25, reserve=lambda: True)
    look_ups: list[bool] = []

    def find(*, trusted: bool) -> bool:
        look_ups.append(trusted)
        return trusted

    def count(*, trusted: bool) -> int:
        entered = 0
        with suppress(TooManyLongRequestsError):
            while True:
                stack.enter_context(limiter.acquire(stay, trust=Trust(find=partial(find, trusted=trusted))))
                entered += 1
        return entered

    with ExitStack() as stack:
        assert count(trusted=False) == 19
        assert look_ups == [False]
        assert count(trusted=True) == 6
        assert look_ups == [False, *[True] * 6]
        assert count(trusted=False) == 0
        assert look_ups == [False, *[True] * 6]  # nobody could get a place


def test_acquire__keeps_nothing_where_all_callers_are_of_one_kind() -> None:
    with ExitStack() as stack:
        assert count_accepted(LongRequestLimiter(25, reserve=lambda: False), stack, trusted=False) == 25


def test_acquire__ends_the_request_in_the_count_however_it_ended(limiter: LongRequestLimiter) -> None:
    for _ in range(5):
        with pytest.raises(LookupError), limiter.acquire(stay):
            raise LookupError


def test_token__is_set_when_the_time_is_up(limiter: LongRequestLimiter) -> None:
    with limiter.acquire(stay) as lasting, limiter.acquire(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_token__is_set_when_the_client_has_left(limiter: LongRequestLimiter) -> None:
    left = threading.Event()
    with limiter.acquire(stay) as lasting, limiter.acquire(left.is_set) as leaving:
        assert not leaving.is_set
        left.set()
        assert leaving.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_token__is_set_when_the_process_is_to_stop(limiter: LongRequestLimiter) -> None:
    """Also that of a request which begins after that."""
    stopping = threading.Event()
    limiter.stopping = stopping.is_set
    with limiter.acquire(stay) as first, limiter.acquire(stay, seconds=300) as second:
        stopping.set()
        assert first.wait(DEADLINE_SECONDS)
        assert second.wait(DEADLINE_SECONDS)
    with limiter.acquire(stay) as late:
        assert late.wait(DEADLINE_SECONDS)


def test_acquire__starts_its_thread_later_where_none_can_be_started() -> None:
    """The request that failed for it does not count."""
    limiter = LongRequestLimiter(1)
    with no_threads(), pytest.raises(RuntimeError), limiter.acquire(stay):
        pytest.fail("nothing watches it")
    with limiter.acquire(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)


def test_cancel_token__stays_set() -> None:
    cancel_token = CancelToken()
    assert not cancel_token.wait(0)
    cancel_token.set()
    cancel_token.set()
    assert cancel_token.is_set
    assert cancel_token.wait(DEADLINE_SECONDS)
