"""What the log says of things that fail for a while."""

import logging

import pytest

from app.common.outage_logger import OutageLogger
from tests.support.clock import Clock

LOG = logging.getLogger("test.troubles")


@pytest.fixture
def clock() -> Clock:
    """The time of a test."""
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> OutageLogger:
    """One that writes where the test can read it."""
    caplog.set_level(logging.INFO, "test.troubles")
    return OutageLogger(LOG, "the door is stuck", clock)


def test_an_outage_is_said_when_it_begins_once_a_minute_and_when_it_is_over(
    outage: OutageLogger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried meanwhile."""
    for _ in range(130):
        outage.failed(OSError("no answer"))
        clock.now += 1.0
    outage.recovered()

    assert caplog.messages == [
        "the door is stuck: no answer",
        "the door is stuck, 61 times in 60 s: no answer",
        "the door is stuck, 121 times in 120 s: no answer",
        "over after 130.0 s: the door is stuck",
    ]


def test_what_goes_well_is_not_worth_a_word(outage: OutageLogger, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the first time nor after an outage that was said to be over."""
    outage.recovered()
    outage.failed(OSError("no answer"))
    outage.recovered()
    outage.recovered()
    assert len(caplog.messages) == 2


def test_a_second_outage_is_said_anew(outage: OutageLogger, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Also when it begins within the minute after the first."""
    outage.failed(OSError("first"))
    outage.recovered()
    clock.now += 1.0
    outage.failed(OSError("second"))
    assert caplog.messages[-1] == "the door is stuck: second"
