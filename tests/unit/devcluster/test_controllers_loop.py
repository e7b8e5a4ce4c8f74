"""The controllers' loop: order, timers, errors, and queues of keys."""

import logging
import threading
from collections.abc import Iterator

import pytest

from devcluster.controllers.loop import KeyQueue, Loop
from devcluster.errors import ApiError
from tests.support.waiting import DEADLINE_SECONDS


@pytest.fixture
def loop() -> Iterator[Loop]:
    running = Loop("test")
    running.start()
    yield running
    running.stop()


def settle(loop: Loop) -> None:
    """Wait until the calls posted so far are done."""
    done = threading.Event()
    loop.post(done.set)
    assert done.wait(DEADLINE_SECONDS)


def test_loop__logs_an_error_and_makes_the_next_call(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    made: list[int] = []
    loop.post(made.append, 1)
    loop.post(int, "x")
    loop.post(made.append, 2)
    settle(loop)
    assert made == [1, 2]
    assert "invalid literal" in caplog.text


def test_timers__fire_in_order_of_time_unless_cancelled(loop: Loop) -> None:
    """The earliest fires first, in whatever order they were set."""
    fired: list[str] = []
    done = threading.Event()

    def set_timers() -> None:
        loop.after(0.04, fired.append, "late")
        cancelled = loop.after(0.01, fired.append, "cancelled")
        loop.after(0.02, fired.append, "early")
        loop.after(0.05, done.set)
        cancelled.cancel()

    loop.post(set_timers)
    assert done.wait(DEADLINE_SECONDS)
    assert fired == ["early", "late"]


def test_stop__makes_earlier_calls_and_no_later_ones(loop: Loop) -> None:
    made: list[int] = []
    loop.post(made.append, 1)
    loop.stop()
    loop.post(made.append, 2)
    assert made == [1]


class TestKeyQueue:
    """Queues of keys."""

    def test_add__queues_a_waiting_key_once(self, loop: Loop) -> None:
        """However often it is added."""
        seen: list[tuple[str, str]] = []
        keys = KeyQueue(loop, seen.append)
        hold = threading.Event()
        loop.post(hold.wait, DEADLINE_SECONDS)
        for _ in range(3):
            loop.post(keys.add, ("ns", "a"))
        loop.post(keys.add, ("ns", "b"))
        hold.set()
        settle(loop)
        settle(loop)  # the keys were posted after the first
        assert seen == [("ns", "a"), ("ns", "b")]

    def test_requeue__after_the_returned_seconds(self, loop: Loop) -> None:
        """`reconcile` returns the seconds."""
        answers = iter([0.01, 0.01, None])
        ended = threading.Event()

        def reconcile(_: tuple[str, str]) -> float | None:
            answer = next(answers)
            if answer is None:
                ended.set()
            return answer

        loop.post(KeyQueue(loop, reconcile).add, ("ns", "a"))
        assert ended.wait(DEADLINE_SECONDS)

    @pytest.mark.parametrize(("error", "calls"), [(ValueError("x"), 2), (ApiError(409, "Conflict", "x"), 1)])
    def test_error__is_retried_but_a_conflict_is_not(
        self, loop: Loop, caplog: pytest.LogCaptureFixture, error: Exception, calls: int
    ) -> None:
        """The change that caused a conflict queues the key again."""
        caplog.set_level(logging.CRITICAL)
        seen: list[int] = []

        def reconcile(_: tuple[str, str]) -> None:
            seen.append(1)
            if len(seen) == 1:
                raise error

        loop.post(KeyQueue(loop, reconcile).add, ("ns", "a"))
        past_the_retry = threading.Event()
        loop.post(loop.after, 0.2, past_the_retry.set)
        assert past_the_retry.wait(DEADLINE_SECONDS)
        assert len(seen) == calls
