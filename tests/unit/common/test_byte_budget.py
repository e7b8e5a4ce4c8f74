"""Bytes that requests hold at the same time."""

import threading
import time

import pytest

from app.common import byte_budget
from app.common.byte_budget import ByteBudget
from app.common.concurrency_limiter import BusyError, arrived_at
from tests.support.waiting import DEADLINE_SECONDS, until


def test_reserve__refuses_what_does_not_become_free_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given back is free for others."""
    monkeypatch.setattr(byte_budget, "MAX_WAIT_SECONDS", 0.0)
    budget = ByteBudget(100, "lists")
    first, second = budget.reserve(60), budget.reserve(40)
    with pytest.raises(BusyError):
        budget.reserve(1)
    first.shrink(50)
    first.shrink(55)
    third = budget.reserve(10)
    with pytest.raises(BusyError):
        budget.reserve(1)
    for reservation in (first, first, second, third):
        reservation.release()
    budget.reserve(100)


def test_reserve__waits_until_another_request_gives_back() -> None:
    """However long that one reads its response."""
    budget = ByteBudget(100, "lists")
    first = budget.reserve(100)
    got = threading.Event()
    thread = threading.Thread(target=lambda: (budget.reserve(80), got.set()))
    thread.start()
    assert not got.is_set()
    first.shrink(20)
    assert got.wait(DEADLINE_SECONDS)
    thread.join(DEADLINE_SECONDS)


def test_reserve__serves_first_come_first_served() -> None:
    """A request for many bytes is not overtaken by those for few that came later, also if they would fit."""
    budget = ByteBudget(100, "bodies")
    first = budget.reserve(60)
    got: list[int] = []

    def take(size_bytes: int) -> None:
        reservation = budget.reserve(size_bytes)
        got.append(size_bytes)
        reservation.release()

    threads = []
    for number, size_bytes in enumerate((90, 20, 10)):
        threads.append(threading.Thread(target=take, args=(size_bytes,)))
        threads[-1].start()
        until(lambda number=number: budget.waiting == number + 1)
    first.release()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert got[0] == 90
    assert sorted(got) == [10, 20, 90]
    budget.reserve(100)


def test_reserve__lets_those_behind_a_refused_request_go_on() -> None:
    """They need less than the one that gave up."""
    budget = ByteBudget(100, "bodies")
    budget.reserve(60)
    refused = threading.Event()

    def give_up() -> None:
        arrived_at.set(time.monotonic() - byte_budget.MAX_WAIT_SECONDS + 0.5)
        with pytest.raises(BusyError):
            budget.reserve(90)
        refused.set()

    first = threading.Thread(target=give_up)
    first.start()
    until(lambda: budget.waiting == 1)
    arrived_at.set(time.monotonic() + DEADLINE_SECONDS)
    try:
        budget.reserve(40).release()
    finally:
        arrived_at.set(None)
    assert refused.wait(DEADLINE_SECONDS)
    first.join(DEADLINE_SECONDS)


def test_reserve__of_nothing_does_not_wait() -> None:
    budget = ByteBudget(100, "bodies")
    budget.reserve(100)
    with budget.reserve(0):
        pass


def test_reservation__ends_with_its_context() -> None:
    budget = ByteBudget(100, "bodies")
    with budget.reserve(100) as reservation:
        reservation.shrink(10)
    budget.reserve(100)
