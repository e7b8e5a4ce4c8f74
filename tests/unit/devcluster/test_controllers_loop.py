"""The controllers' loop: order, timers, faults, and the queues of keys."""

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
    """Wait until what was posted so far is done."""
    done = threading.Event()
    loop.post(done.set)
    assert done.wait(DEADLINE_SECONDS)


def test_calls_are_made_in_order_and_a_fault_stops_none(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """One call's error is logged; the next is made all the same."""
    made: list[int] = []
    loop.post(made.append, 1)
    loop.post(int, "x")
    loop.post(made.append, 2)
    settle(loop)
    assert made == [1, 2]
    assert "invalid literal" in caplog.text


def test_timers_fire_by_their_time_and_a_cancelled_one_never(loop: Loop) -> None:
    """The earliest first, however they were set."""
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


def test_a_stopped_loop_makes_no_more_calls(loop: Loop) -> None:
    """What was posted before is done, what is posted after isn't."""
    made: list[int] = []
    loop.post(made.append, 1)
    loop.stop()
    loop.post(made.append, 2)
    assert made == [1]


class TestKeyQueue:
    """Queues of keys."""

    def test_a_key_that_waits_already_is_reconciled_once(self, loop: Loop) -> None:
        """However many notifications there were."""
        seen: list[tuple[str, str]] = []
        keys = KeyQueue(loop, seen.append)
        hold = threading.Event()
        loop.post(hold.wait, DEADLINE_SECONDS)
        for _ in range(3):
            loop.post(keys.add, ("ns", "a"))
        loop.post(keys.add, ("ns", "b"))
        hold.set()
        settle(loop)
        settle(loop)  # the keys were posted behind the first
        assert seen == [("ns", "a"), ("ns", "b")]

    def test_it_looks_again_when_it_was_told_to(self, loop: Loop) -> None:
        """The seconds that a reconciliation returns."""
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
    def test_an_error_is_retried_a_conflict_waits_for_its_change(
        self, loop: Loop, caplog: pytest.LogCaptureFixture, error: Exception, calls: int
    ) -> None:
        """A conflict's cause brings its own notification."""
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
