"""The cache for callers that poll, with a clock that the tests hold."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, Event

import pytest

from app.common.errors import ErrorKind, ServiceError
from app.common.list_count import record_list
from app.common.poll_cache import PollCache
from tests.support.clock import Clock
from tests.support.waiting import DEADLINE_SECONDS

STALE = 110


class Reader:
    """Reads answers, each at a cost in lists, and counts."""

    def __init__(self, lists: int = 1) -> None:
        self.lists = lists
        self.reads = 0

    def __call__(self) -> int:
        """Read once more."""
        self.reads += 1
        for _ in range(self.lists):
            record_list()
        return self.reads


class SlowReader:
    """Reads an answer, and does not end before a test releases it."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.reading, self.release = Event(), Event()

    def __call__(self) -> int:
        """Read."""
        self.reading.set()
        assert self.release.wait(DEADLINE_SECONDS)
        return self.answer


class GoneError(ServiceError):
    """What was asked for does not exist."""

    kind = ErrorKind.NOT_FOUND


def fail() -> int:
    """Fail without saying anything about what was asked for."""
    record_list()
    raise RuntimeError


def find_nothing() -> int:
    """Find out with a single GET that there is nothing."""
    raise GoneError


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PollCache[int]:
    return PollCache(lambda _: 100, clock=clock)


def test_get__shares_an_answer_for_a_second(cache: PollCache[int], clock: Clock) -> None:
    reader = Reader()
    assert [cache.get("a", 0, reader).answer for _ in range(9)] == [1] * 9
    clock.now += 1
    assert cache.get("a", 0, reader).answer == 2


def test_get__tells_the_age_of_an_old_answer(cache: PollCache[int], clock: Clock) -> None:
    expensive = Reader(lists=10)
    cache.get("a", 0, expensive)
    clock.now += 2
    assert cache.get("a", STALE, expensive).answer == 2
    clock.now += 2  # 5 saved up, 10 used: no list is left for another 4 s
    polled = cache.get("a", STALE, expensive)
    assert (polled.answer, polled.age_seconds) == (2, 2)


def test_get__reads_anew_if_the_answer_is_older_than_the_caller_accepts(cache: PollCache[int], clock: Clock) -> None:
    expensive = Reader(lists=100)
    cache.get("a", 0, expensive)
    clock.now += 2
    cache.get("a", 5, expensive)
    clock.now += 5.9
    assert cache.get("a", 5, expensive).answer == 2
    clock.now += 0.1
    assert cache.get("a", 5, expensive).answer == 3


@pytest.mark.parametrize("lists", [1, 2, 4])
@pytest.mark.parametrize("keys", [1, 3, 50])
def test_get__costs_one_list_a_second_however_many_poll(clock: Clock, keys: int, lists: int) -> None:
    """50 pages poll every two seconds: after the first answers, at most one list a second and a burst."""
    cache: PollCache[int] = PollCache(lambda _: 100, clock=clock)
    reader = Reader(lists)
    for page in range(50):
        cache.get(page % keys, 0, reader)
    first = reader.reads
    assert first == keys
    seconds = 100
    for tick in range(seconds * 10):
        clock.now += 0.1
        for page in range(tick % 20, 50, 20):
            cache.get(page % keys, STALE, reader)
    assert (reader.reads - first) * lists <= seconds + 5 + lists


def test_get__reads_long_lists_for_half_of_the_time_at_most(cache: PollCache[int], clock: Clock) -> None:
    busy_seconds = 0.0

    def read() -> int:
        nonlocal busy_seconds
        clock.now += 4
        busy_seconds += 4
        record_list()
        return 1

    began = clock.now
    while clock.now < began + 200:
        clock.now += 0.5
        cache.get("a", STALE, read)
    assert 60 <= busy_seconds <= 110


def test_get__renews_all_answers_in_turn(clock: Clock) -> None:
    cache: PollCache[int] = PollCache(lambda _: 100, clock=clock)
    readers = {key: Reader() for key in range(5)}
    for tick in range(300):
        clock.now += 0.1
        if tick % 20 in (0, 4, 8, 12, 16):
            key = tick % 20 // 4
            cache.get(key, STALE, readers[key])
    assert min(reader.reads for reader in readers.values()) >= 3


def test_get__lets_nobody_wait_for_another_ones_read_if_there_is_an_old_answer(clock: Clock) -> None:
    cache: PollCache[int] = PollCache(lambda _: 100, clock=clock)
    cache.get("a", STALE, Reader())
    clock.now += 3
    slow = SlowReader(2)
    with ThreadPoolExecutor(1) as pool:
        renewal = pool.submit(cache.get, "a", STALE, slow)
        assert slow.reading.wait(DEADLINE_SECONDS)
        assert cache.get("a", STALE, Reader()).answer == 1
        slow.release.set()
        assert renewal.result(DEADLINE_SECONDS).answer == 2


def test_get__makes_one_read_of_many_first_ones_at_once(clock: Clock) -> None:
    cache: PollCache[int] = PollCache(lambda _: 100, clock=clock)
    reader, together = Reader(), Barrier(8)

    def poll(_: int) -> int:
        together.wait(DEADLINE_SECONDS)
        return cache.get("a", 0, reader).answer

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(poll, range(8))) == {1}
    assert reader.reads == 1


def test_get__keeps_no_failure(cache: PollCache[int]) -> None:
    for _ in range(6):
        with pytest.raises(RuntimeError):
            cache.get("a", 0, fail)
    assert cache.get("a", 0, Reader()).answer == 1


def test_get__charges_the_lists_of_a_renewal_that_fails(cache: PollCache[int], clock: Clock) -> None:
    reader = Reader()
    cache.get("a", 0, reader)
    clock.now += 100
    for _ in range(5):  # as many as are saved up
        with pytest.raises(RuntimeError):
            cache.get("a", STALE, fail)
    assert cache.get("a", STALE, reader).age_seconds == 100


def poll_beside(cache: PollCache[int], clock: Clock, disturb: Callable[[int], None]) -> float:
    """Poll an answer every two seconds while another caller does something each second; return its highest age."""
    reader, oldest = Reader(), 0.0
    for second in range(200):
        disturb(second)
        if second % 2 == 0:
            oldest = max(oldest, cache.get("page", STALE, reader).age_seconds)
        clock.now += 1
    return oldest


def test_get__a_caller_that_asks_for_what_does_not_exist__delays_nobody(cache: PollCache[int], clock: Clock) -> None:
    def ask(second: int) -> None:
        with pytest.raises(GoneError):
            cache.get(f"run {second}", STALE, find_nothing)

    assert poll_beside(cache, clock, ask) <= 2


@pytest.mark.parametrize("max_stale", [0, STALE])
def test_get__a_caller_that_always_gets_new_answers__delays_nobody(
    cache: PollCache[int], clock: Clock, max_stale: int
) -> None:
    expensive = Reader(lists=4)

    def ask(second: int) -> None:
        cache.get(("list", max_stale and second), max_stale, expensive)

    assert poll_beside(cache, clock, ask) <= 2


def test_get__what_is_gone__is_not_shown_again(cache: PollCache[int], clock: Clock) -> None:
    cache.get("run", 0, Reader())
    clock.now += 2
    for _ in range(20):
        with pytest.raises(GoneError):
            cache.get("run", STALE, find_nothing)
    assert len(cache) == 0


def test_get__an_answer_that_cannot_be_renewed__delays_no_other(cache: PollCache[int], clock: Clock) -> None:
    """It stays, and is the oldest one. The others get their lists, too."""
    cache.get("broken", 0, Reader())
    clock.now += 1
    reader, oldest = Reader(), 0.0
    for second in range(100):
        with suppress(RuntimeError):
            assert cache.get("broken", STALE, fail).answer == 1
        if second % 2 == 0:
            oldest = max(oldest, cache.get("page", STALE, reader).age_seconds)
        clock.now += 1
    assert oldest <= 6


def test_get__a_first_answer_that_takes_long__delays_no_renewal(cache: PollCache[int], clock: Clock) -> None:
    reader = Reader()
    cache.get("page", 0, reader)
    clock.now += 3
    slow = SlowReader(1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, "other", 0, slow)
        assert slow.reading.wait(DEADLINE_SECONDS)
        assert cache.get("page", STALE, reader).answer == 2
        slow.release.set()
        first.result(DEADLINE_SECONDS)


def test_get__a_renewal_that_ends_late__replaces_no_newer_answer(cache: PollCache[int], clock: Clock) -> None:
    cache.get("a", 0, lambda: 1)
    clock.now += 3
    slow = SlowReader(2)
    with ThreadPoolExecutor(1) as pool:
        renewal = pool.submit(cache.get, "a", STALE, slow)
        assert slow.reading.wait(DEADLINE_SECONDS)
        clock.now += 1
        assert cache.get("a", 0, lambda: 3).answer == 3
        slow.release.set()
        assert renewal.result(DEADLINE_SECONDS).answer == 2
    assert cache.get("a", 0, lambda: 4).answer == 3


def test_kept_answers__are_bounded_in_number_and_bytes(clock: Clock) -> None:
    cache: PollCache[int] = PollCache(lambda size: size, clock=clock)
    for key in range(1000):
        cache.get(key, 0, lambda: 1)
    assert len(cache) == 128
    for key in range(10):
        cache.get(f"large {key}", 0, lambda: 2**18)
    assert len(cache) == 4
