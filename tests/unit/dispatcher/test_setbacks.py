"""How long definitions rest, and what is an outage."""

import pytest

from app.dispatcher.setbacks import Setbacks
from app.kube.errors import UnavailableError
from tests.support.clock import Clock

ERROR = UnavailableError("no answer")


def rests(setbacks: Setbacks, clock: Clock, times: int, *, others_are_answered: bool) -> list[float]:
    """How long a definition rests after each of so many failures in a row."""
    found = []
    for _ in range(times):
        setbacks.failed("bad", ERROR)
        found.append(setbacks.seconds_left())
        assert setbacks.is_resting("bad")
        clock.now += found[-1]
        assert not setbacks.is_resting("bad")
        if others_are_answered:
            clock.now += 0.001
            setbacks.answered("good")
    return found


def test_rests_grow_while_others_are_answered() -> None:
    """It isn't the API server; and each try may hang for seconds."""
    clock = Clock()
    found = rests(Setbacks(clock), clock, 9, others_are_answered=True)
    assert found == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])


def test_rests_stay_short_where_nothing_is_known_of_others() -> None:
    """It may be an outage, which may be over at any moment."""
    clock = Clock()
    assert rests(Setbacks(clock), clock, 5, others_are_answered=False) == pytest.approx([0.5, 1, 2, 2, 2])


def test_it_is_an_outage_when_two_fail_and_nobody_is_answered() -> None:
    """One alone may have a webhook of its own that is down."""
    clock = Clock()
    setbacks = Setbacks(clock)
    assert not setbacks.failed("a", ERROR)
    assert not setbacks.failed("a", ERROR)
    assert setbacks.failed("b", ERROR)
    clock.now += 1
    setbacks.answered("c")
    clock.now += 1
    assert not setbacks.failed("b", ERROR)


def test_an_answer_ends_the_row_of_failures() -> None:
    """A refusal is one, too, and asks for a pause of its own."""
    clock = Clock()
    setbacks = Setbacks(clock)
    setbacks.failed("a", ERROR)
    assert setbacks.is_failing("a")
    clock.now += 1
    setbacks.refused("a")
    assert not setbacks.is_failing("a")
    assert setbacks.is_resting("a")
    assert setbacks.seconds_left() == pytest.approx(0.1)
    clock.now += 1
    assert setbacks.seconds_left() == float("inf")


def test_trouble_is_told_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """By definition."""
    caplog.set_level("INFO")
    setbacks = Setbacks(Clock())
    for _ in range(3):
        setbacks.failed("a", ERROR)
    setbacks.answered("b")
    assert caplog.messages == ["runs of a get no answer to rely on: no answer"]
    setbacks.answered("a")
    assert caplog.messages[1:] == ["recovered after 0.0 s: runs of a get no answer to rely on"]
