"""`app.common.outage_logger`: which lines an outage leaves in the log."""

import logging

import pytest

from app.common.outage_logger import OutageLogger
from tests.support.clock import Clock

LOG = logging.getLogger("test.outages")


@pytest.fixture
def clock() -> Clock:
    """The time of a test."""
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> OutageLogger:
    """A logger whose lines the test can read."""
    caplog.set_level(logging.INFO, LOG.name)
    return OutageLogger(LOG, "cannot read the list", clock)


def test_outage_logger__logs_the_begin_a_line_per_minute_and_the_end(
    outage: OutageLogger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(130):
        outage.failed(OSError("timeout"))
        clock.now += 1.0
    outage.recovered()

    assert caplog.messages == [
        "cannot read the list: timeout",
        "cannot read the list, 61 times in 60 s: timeout",
        "cannot read the list, 121 times in 120 s: timeout",
        "recovered after 130.0 s: cannot read the list",
    ]


def test_outage_logger__logs_no_success_without_an_outage(
    outage: OutageLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither before the first outage nor after the last."""
    outage.recovered()
    outage.failed(OSError("timeout"))
    outage.recovered()
    outage.recovered()
    assert len(caplog.messages) == 2


def test_outage_logger__logs_a_second_outage_within_the_minute_after_the_first(
    outage: OutageLogger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    outage.failed(OSError("first"))
    outage.recovered()
    clock.now += 1.0
    outage.failed(OSError("second"))
    assert caplog.messages[-1] == "cannot read the list: second"
