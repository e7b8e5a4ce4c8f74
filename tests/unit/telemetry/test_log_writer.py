"""Lines are written in order, in time, and none is lost."""

import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from app.telemetry.log_writer import LogWriter
from tests.support.threads import no_threads
from tests.support.waiting import DEADLINE_SECONDS


class Stream(io.StringIO):
    """A stream that can be blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.writes = 0

    def write(self, text: str) -> int:
        """Write, once the stream is open."""
        assert self.open.wait(DEADLINE_SECONDS)
        self.writes += 1
        return super().write(text)


@pytest.fixture
def stream() -> Stream:
    """Where the lines go."""
    return Stream()


@pytest.fixture
def writer(stream: Stream) -> LogWriter:
    """A writer whose thread is not started."""
    return LogWriter(stream)


@pytest.fixture
def log(writer: LogWriter) -> Iterator[logging.Logger]:
    """A logger that has this writer and no other."""
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(writer)
    yield logger
    logger.removeHandler(writer)


def lines_in(stream: Stream) -> list[str]:
    return stream.getvalue().splitlines()


def test_emit__writes_at_once_before_the_thread_is_started(log: logging.Logger, stream: Stream) -> None:
    log.info("first")
    assert lines_in(stream) == ["first"]


def test_emit__leaves_the_line_to_the_thread(log: logging.Logger, writer: LogWriter, stream: Stream) -> None:
    writer.start()
    stream.open.clear()
    for number in range(100):
        log.info("%d", number)  # does not wait for the stream
    stream.open.set()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(lines_in(stream)) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert lines_in(stream) == [str(number) for number in range(100)]
    assert stream.writes < 100


def test_emit__writes_a_warning_and_all_before_it_at_once(
    log: logging.Logger, writer: LogWriter, stream: Stream
) -> None:
    writer.start()
    log.info("first")
    log.info("second")
    log.warning("third")
    assert lines_in(stream) == ["first", "second", "third"]


def test_emit__waits_for_the_stream_when_too_many_lines_wait(
    log: logging.Logger, writer: LogWriter, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.telemetry.log_writer._MAX_LINES", 10)
    writer.start()
    for number in range(1000):
        log.info("%d", number)
        assert len(writer._lines) <= 10
    writer.flush()
    assert lines_in(stream) == [str(number) for number in range(1000)]


def test_flush__writes_what_waits(log: logging.Logger, writer: LogWriter, stream: Stream) -> None:
    writer.start()
    for number in range(50):
        log.info("%d", number)
    writer.flush()
    assert lines_in(stream) == [str(number) for number in range(50)]


def test_emit__loses_lines_of_a_broken_stream_and_goes_on(writer: LogWriter, log: logging.Logger) -> None:
    writer._stream = open(1, "w", closefd=False)  # noqa: SIM115 - closed below
    writer._stream.close()
    log.error("nobody reads this")


def test_start__leaves_it_at_writing_at_once_where_no_thread_can_be_started(
    log: logging.Logger, writer: LogWriter, stream: Stream
) -> None:
    with no_threads():
        writer.start()
    log.info("first")
    assert lines_in(stream) == ["first"]


PROGRAM = """
import logging, os
from app.telemetry.logs import set_up_logs, start_log_writer
set_up_logs("text", "INFO")
start_log_writer()
for number in range(200):
    logging.getLogger("app.test").info("line %d", number)
"""


@pytest.mark.parametrize(
    "end", ["", "logging.shutdown(); os._exit(0)"], ids=["returns", "as app/server/gunicorn_conf.py ends"]
)
def test_end_of_the_process__loses_no_line(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + end], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    assert [line.rsplit(" ", 1)[1] for line in ended.stderr.splitlines()] == [str(number) for number in range(200)]
