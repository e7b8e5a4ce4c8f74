"""Look-ups that are cached for a short time and shared by concurrent callers."""

import threading

import pytest

from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from tests.support.clock import Clock
from tests.support.waiting import DEADLINE_SECONDS


def test_get__caches_results_for_a_time_and_failures_never() -> None:
    """The time counts from the start of the look-up, because the result may be as old."""
    clock, answers = Clock(), iter([True, False])
    cache: SingleFlightCache[bool] = SingleFlightCache(ConcurrencyLimiter(1), seconds=2.0, clock=clock)

    def fail() -> bool:
        raise OSError("unreachable")

    def slow() -> bool:
        clock.now += 1.5
        return next(answers)

    with pytest.raises(OSError, match="unreachable"):
        cache.get("a", fail)
    assert cache.get("a", slow) is True
    clock.now += 0.4
    assert cache.get("a", slow) is True
    clock.now += 0.1
    assert cache.get("a", slow) is False


def test_get__drops_the_oldest_entry_if_full() -> None:
    asked: list[int] = []
    cache: SingleFlightCache[None] = SingleFlightCache(ConcurrencyLimiter(1), seconds=100.0, size=3, clock=Clock())
    for key in (1, 2, 3, 4, 2, 1):
        cache.get(key, lambda key=key: asked.append(key))
    assert asked == [1, 2, 3, 4, 1]


def test_get__keeps_a_renewed_entry_longer_than_older_ones() -> None:
    asked: list[int] = []
    clock = Clock()
    cache: SingleFlightCache[None] = SingleFlightCache(ConcurrencyLimiter(1), seconds=10.0, size=3, clock=clock)
    for key, seconds in ((1, 6.0), (2, 6.0), (1, 0.0), (3, 0.0), (4, 0.0), (1, 0.0)):
        cache.get(key, lambda key=key: asked.append(key))
        clock.now += seconds
    assert asked == [1, 2, 1, 3, 4]


def test_get__keeps_a_newer_result_if_an_older_look_up_fails() -> None:
    clock = Clock()
    cache: SingleFlightCache[int] = SingleFlightCache(ConcurrencyLimiter(2), seconds=2.0, clock=clock)

    def fail_late() -> int:
        clock.now += 3.0
        assert cache.get("a", lambda: 7) == 7
        raise OSError("unreachable")

    with pytest.raises(OSError, match="unreachable"):
        cache.get("a", fail_late)
    assert cache.get("a", lambda: 8) == 7


def test_get__shares_one_look_up_among_concurrent_callers() -> None:
    asked: list[int] = []
    started, resume = threading.Event(), threading.Event()
    cache: SingleFlightCache[int] = SingleFlightCache(ConcurrencyLimiter(8), seconds=2.0, clock=Clock())

    def look_up() -> int:
        asked.append(1)
        started.set()
        assert resume.wait(DEADLINE_SECONDS)
        return 7

    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("a", look_up))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(DEADLINE_SECONDS)
    resume.set()
    for thread in threads:
        thread.join()
    assert (found, asked) == ([7] * 8, [1])


def test_get__keeps_each_result_for_its_own_time() -> None:
    clock = Clock()
    cache = SingleFlightCache[bool](
        ConcurrencyLimiter(), seconds=5.0, seconds_of=lambda allowed: 5.0 if allowed else 2.0, clock=clock
    )
    assert cache.get("allowed", lambda: True)
    assert not cache.get("denied", lambda: False)
    clock.now += 1.9
    assert not cache.get("denied", lambda: True)
    clock.now += 0.1
    assert cache.get("denied", lambda: True)
    assert cache.get("allowed", lambda: False)


def test_get__drops_the_oldest_results_beyond_a_number_of_bytes() -> None:
    """A result that alone is larger is not kept."""
    cache = SingleFlightCache[str](ConcurrencyLimiter(), seconds=60.0, size_of=len, max_bytes=10)
    for key in ("a", "b"):
        cache.get(key, lambda: "12345")
    assert cache.get("a", lambda: "new") == "12345"
    cache.get("c", lambda: "1")
    assert cache.get("a", lambda: "new") == "new"
    assert cache.get("c", lambda: "new") == "1"
    assert cache.get("huge", lambda: "x" * 11) == "x" * 11
    assert cache.get("huge", lambda: "new") == "new"
