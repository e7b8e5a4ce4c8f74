"""Log lines: JSON that parses whatever is said, and one place that sets up who writes them."""

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telemetry.logs import JsonFormatter, TextFormatter, configuration_of_logs, request_id
from tests.support.waiting import DEADLINE_SECONDS

HOSTILE = st.text(st.characters(codec=None)) | st.sampled_from(
    ["\r\nX: 1", "\x00", "\ud800", '"}{', "\u2028\u2029", "\x1b[2J", "%s %d %%", "{}"]
)


def record(message: str, *arguments: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("app.test", logging.INFO, "file", 1, message, arguments, None)
    made.__dict__.update(more)
    return made


@given(
    HOSTILE, HOSTILE, st.dictionaries(HOSTILE, HOSTILE | st.integers() | st.none() | st.floats() | st.lists(HOSTILE))
)
def test_every_line_is_one_json_object_of_ascii(message: str, argument: str, fields: dict[str, object]) -> None:
    """Whatever words, arguments and fields there are, and whether or not the arguments fit the words."""
    line = JsonFormatter().format(record(message, argument, fields=fields))
    assert line.isascii()
    assert "\n" not in line
    assert "\r" not in line
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert parsed["level"] == "INFO"
    assert parsed["logger"] == "app.test"


@given(HOSTILE)
def test_a_message_comes_back_as_it_was_said(text: str) -> None:
    """But for halves of surrogate pairs, which not every reader takes."""
    parsed = json.loads(JsonFormatter().format(record("%s", text)))
    assert parsed["message"] == text.encode("utf-8", "replace").decode()


def test_fields_of_a_line_can_not_pass_for_others() -> None:
    """A field that has a name of ours changes nothing."""
    parsed = json.loads(JsonFormatter().format(record("said", fields={"level": "DEBUG", "status": 202})))
    assert (parsed["level"], parsed["status"], parsed["message"]) == ("INFO", 202, "said")


def test_a_trace_is_a_field() -> None:
    """The lines of a trace are one value."""
    try:
        raise ValueError("why\nhere")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: why\nhere\n")


def test_the_request_id_is_in_both_forms() -> None:
    """While a call is answered; before and after there is none."""
    request_id.set("")  # Flask's client may have left the one of another test
    assert "request" not in TextFormatter().format(record("said"))
    assert "request_id" not in json.loads(JsonFormatter().format(record("said")))
    token = request_id.set("abc")
    try:
        assert TextFormatter().format(record("said")).endswith("INFO app.test said request-id=abc")
        assert json.loads(JsonFormatter().format(record("said")))["request_id"] == "abc"
    finally:
        request_id.reset(token)


def test_debug_is_for_our_own_lines() -> None:
    """Libraries write answers of the API server there."""
    configuration = configuration_of_logs("text", "DEBUG")
    assert configuration["loggers"]["app"]["level"] == "DEBUG"
    assert configuration["root"]["level"] == "INFO"


SAYS_ALL = """
import threading, warnings, logging
from app.telemetry.logs import set_up_logs
set_up_logs("json", "INFO")
warnings.warn("a warning")
thread = threading.Thread(target=lambda: 1 / 0, name="unlucky"); thread.start(); thread.join()
logging.getLogger("somebody.else").info("a word")
"""


def test_warnings_and_the_ends_of_threads_are_lines_like_others() -> None:
    """Nothing of what a running process says falls out of the form."""
    ended = subprocess.run(
        [sys.executable, "-c", SAYS_ALL], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    warning, end, word = map(json.loads, ended.stderr.splitlines())
    assert "a warning" in warning["message"]
    assert end["message"] == "the thread unlucky has ended"
    assert "ZeroDivisionError" in end["exception"]
    assert (word["logger"], word["message"]) == ("somebody.else", "a word")
