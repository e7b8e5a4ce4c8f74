"""Calls that last have so many places, and each is told when there is no more reason to go on."""

import threading

import pytest

from app.cluster.interrupts import Interrupt
from app.services.streams import Streams, TooManyStreamsError
from tests.threads import no_threads

DEADLINE_SECONDS = 20.0


@pytest.fixture
def streams() -> Streams:
    """Two places."""
    return Streams(2)


def stay() -> bool:
    return False


def test_a_call_without_a_place_is_refused_at_once(streams: Streams) -> None:
    """It is told so, and the others keep theirs."""
    with streams.place(stay) as first, streams.place(stay) as second:
        with pytest.raises(TooManyStreamsError), streams.place(stay):
            pytest.fail("a third call got in")
        assert not first.is_set
        assert not second.is_set


def test_no_place_at_all_is_a_setting_like_any_other() -> None:
    """Then nobody may wait or read logs."""
    with pytest.raises(TooManyStreamsError), Streams(0).place(stay):
        pytest.fail("a call got in")


def test_a_place_is_free_again_however_the_call_ended(streams: Streams) -> None:
    """A failed call takes no place with it."""
    for _ in range(5):
        with pytest.raises(LookupError), streams.place(stay):
            raise LookupError


def test_a_call_ends_when_its_time_is_up(streams: Streams) -> None:
    """And the other one goes on."""
    with streams.place(stay) as lasting, streams.place(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_a_call_ends_when_its_client_has_left(streams: Streams) -> None:
    """And the other one goes on."""
    left = threading.Event()
    with streams.place(stay) as lasting, streams.place(left.is_set) as leaving:
        assert not leaving.is_set
        left.set()
        assert leaving.wait(DEADLINE_SECONDS)
        assert not lasting.is_set


def test_all_calls_end_when_the_process_is_to_stop(streams: Streams) -> None:
    """Those that come later, too."""
    stopping = threading.Event()
    streams.stopping = stopping.is_set
    with streams.place(stay) as first, streams.place(stay, seconds=300) as second:
        stopping.set()
        assert first.wait(DEADLINE_SECONDS)
        assert second.wait(DEADLINE_SECONDS)
    with streams.place(stay) as late:
        assert late.wait(DEADLINE_SECONDS)


def test_a_call_that_finds_no_thread_takes_no_place_and_the_next_one_is_looked_after() -> None:
    """Also where that was the first of all."""
    streams = Streams(1)
    with no_threads(), pytest.raises(RuntimeError), streams.place(stay):
        pytest.fail("nobody looks after it")
    with streams.place(stay, seconds=0.2) as short:
        assert short.wait(DEADLINE_SECONDS)


def test_an_interrupt_stays_set() -> None:
    """Whoever waits for it later doesn't wait."""
    interrupt = Interrupt()
    assert not interrupt.wait(0)
    interrupt.set()
    interrupt.set()
    assert interrupt.is_set
    assert interrupt.wait(DEADLINE_SECONDS)
