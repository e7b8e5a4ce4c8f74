"""How many requests pass at the same time, and how long the others wait."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from app.common import concurrency_limiter
from app.common.concurrency_limiter import MAX_WAIT_SECONDS, BusyError, ConcurrencyLimiter, arrived_at
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request waits."""
    monkeypatch.setattr(concurrency_limiter, "MAX_WAIT_SECONDS", 0.0)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that wait."""
    with ThreadPoolExecutor(8) as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def pass_through(limiter: ConcurrencyLimiter, passed: list[int], number: int, arrived: float | None = None) -> None:
    arrived_at.set(arrived)
    with limiter.acquire():
        passed.append(number)


@contextmanager
def waiting(
    pool: ThreadPoolExecutor, limiter: ConcurrencyLimiter, passed: list[int], count: int
) -> Iterator[list["Future[None]"]]:
    """Let so many requests wait, one after the other, while the only permit is held."""
    with limiter.acquire():
        requests = []
        for number in range(count):
            requests.append(pool.submit(pass_through, limiter, passed, number))
            until(lambda: limiter.waiting == len(requests))
        yield requests


def test_acquire__waits_for_a_permit_longer_than_a_moment(pool: ThreadPoolExecutor) -> None:
    limiter, passed = ConcurrencyLimiter(1), list[int]()
    with waiting(pool, limiter, passed, 1) as (request,):
        time.sleep(2 * concurrency_limiter._SHORT_MAX_WAIT_SECONDS)
        assert passed == []
    request.result(DEADLINE_SECONDS)
    assert passed == [0]


def test_acquire__serves_requests_in_the_order_of_their_arrival(pool: ThreadPoolExecutor) -> None:
    limiter, passed = ConcurrencyLimiter(1), list[int]()
    with waiting(pool, limiter, passed, 6) as requests:
        pass
    for request in requests:
        request.result(DEADLINE_SECONDS)
    assert passed == list(range(6))


@pytest.mark.usefixtures("impatient")
def test_acquire__refuses_a_request_whose_time_is_up() -> None:
    limiter = ConcurrencyLimiter(2)
    with limiter.acquire(), limiter.acquire(), pytest.raises(BusyError), limiter.acquire():
        pytest.fail("a third request passed")
    assert limiter.waiting == 0
    with limiter.acquire():
        pass


def test_acquire__counts_the_wait_from_the_arrival_of_the_request(pool: ThreadPoolExecutor) -> None:
    limiter, passed = ConcurrencyLimiter(1), list[int]()
    with limiter.acquire():
        late = pool.submit(pass_through, limiter, passed, 0, time.monotonic() - MAX_WAIT_SECONDS)
        assert isinstance(late.exception(DEADLINE_SECONDS), BusyError)
    pool.submit(pass_through, limiter, passed, 1, time.monotonic() - MAX_WAIT_SECONDS).result(DEADLINE_SECONDS)
    assert passed == [1]  # where there is a permit, it is never too late


def test_acquire__lets_further_requests_wait_for_a_moment_only(pool: ThreadPoolExecutor) -> None:
    limiter, passed = ConcurrencyLimiter(1, max_waiting=2), list[int]()
    with waiting(pool, limiter, passed, 2) as requests:
        further = pool.submit(pass_through, limiter, passed, 2)
        assert isinstance(further.exception(DEADLINE_SECONDS), BusyError)
        assert limiter.waiting == 2
    for request in requests:
        request.result(DEADLINE_SECONDS)
    assert passed == [0, 1]


def test_acquire__gives_the_permit_back_when_the_request_fails() -> None:
    limiter = ConcurrencyLimiter(1)
    for _ in range(3):
        with pytest.raises(LookupError), limiter.acquire():
            raise LookupError
    with limiter.acquire():
        pass


def test_acquire__never_lets_more_pass_than_there_are_permits(pool: ThreadPoolExecutor) -> None:
    limiter, lock, inside, most = ConcurrencyLimiter(2), threading.Lock(), 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(200):
            with limiter.acquire():
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    for running in [pool.submit(enter) for _ in range(8)]:
        running.result(DEADLINE_SECONDS)
    assert most <= 2


@pytest.mark.usefixtures("impatient")
def test_acquire__needs_a_permit_of_the_limiter_around_it() -> None:
    whole = ConcurrencyLimiter(3)
    part = ConcurrencyLimiter(1, within=whole)
    with part.acquire(), pytest.raises(BusyError), part.acquire():
        pytest.fail("a second request passed the part")
    with whole.acquire(), part.acquire(), whole.acquire(), pytest.raises(BusyError), whole.acquire():
        pytest.fail("a fourth request passed the whole")
    with whole.acquire(), whole.acquire(), whole.acquire(), pytest.raises(BusyError), part.acquire():
        pytest.fail("a request passed the part without a permit of the whole")
    with part.acquire(), whole.acquire(), whole.acquire():
        pass
