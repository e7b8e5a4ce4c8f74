"""Log lines: JSON that parses whatever is said, and one place that sets up who writes them."""

import http.client
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
def test_json_lines__any_message_and_fields__are_one_ascii_object_each(
    message: str, argument: str, fields: dict[str, object]
) -> None:
    """Whatever words, arguments and fields there are, and whether or not the arguments fit the words."""
    line = JsonFormatter().format(record(message, argument, fields=fields))
    assert line.isascii()
    assert "\n" not in line
    assert "\r" not in line
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert parsed["level"] == "INFO"
    assert parsed["logger"] == "app.test"


@given(HOSTILE)
def test_text_lines__any_message__has_nothing_that_a_terminal_obeys(text: str) -> None:
    """No line break that begins a second line, no terminal sequence, no change of direction."""
    request_id.set("")
    line = TextFormatter().format(record("%s", text))
    assert line.isprintable()
    assert line.isascii() == text.isascii() or not text.isprintable()


def test_text_lines__ordinary_message__is_shown_unchanged() -> None:
    """Escaped where it has to be, and otherwise as it is."""
    line = TextFormatter().format(record("following %s", "Zoë\n2026-01-01 INFO app leading as evil\x1b[2J"))
    assert line.endswith(r"following Zoë\n2026-01-01 INFO app leading as evil\x1b[2J")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_format__long_text__is_cut(formatter: logging.Formatter) -> None:
    """Whoever may write a Lease, say, chooses the name of its holder: a MiB, and another one each second."""
    request_id.set("one")
    try:
        raise ValueError("y" * 10**6)
    except ValueError:
        line = formatter.format(record("following %s", "x" * 10**6, fields={"z": "z" * 10**6}, exc_info=sys.exc_info()))
    finally:
        request_id.set("")
    assert len(line) < 4 * 33_000
    assert "one" in line
    assert "characters left out" in line


def test_text_lines__traceback__cannot_pass_for_a_line() -> None:
    """An exception may quote what somebody has written."""
    try:
        raise ValueError("why\n2026-01-01 INFO app forged\x1b[2J")
    except ValueError:
        lines = TextFormatter().format(record("failed", exc_info=sys.exc_info())).split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)


@given(HOSTILE)
def test_json_lines__any_message__is_read_back_unchanged(text: str) -> None:
    """But for halves of surrogate pairs, which not every reader takes."""
    parsed = json.loads(JsonFormatter().format(record("%s", text)))
    assert parsed["message"] == text.encode("utf-8", "replace").decode()


def test_json_lines__extra_field_with_a_reserved_name__changes_nothing() -> None:
    """A field that has a name of ours changes nothing."""
    parsed = json.loads(JsonFormatter().format(record("said", fields={"level": "DEBUG", "status": 202})))
    assert (parsed["level"], parsed["status"], parsed["message"]) == ("INFO", 202, "said")


def test_json_lines__traceback__is_one_field() -> None:
    """The lines of a trace are one value."""
    try:
        raise ValueError("why\nhere")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: why\nhere\n")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_format__shows_no_header_value_and_no_credential(formatter: logging.Formatter) -> None:
    """The errors of HTTP libraries quote the header that they refuse."""
    connection = http.client.HTTPConnection("localhost")
    connection.putrequest("GET", "/")
    value = "Bearer abc-secret\nsecret"
    try:
        connection.putheader("authorization", value)
    except ValueError:
        line = formatter.format(record("sent Authorization: Bearer xyz.secret_1234567 twice", exc_info=sys.exc_info()))
    assert "secret" not in line
    assert "sent Authorization: Bearer (not shown) twice" in line
    assert "Invalid header value (not shown)" in line


def test_log_lines__during_a_request__have_its_id_in_both_formats() -> None:
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


def test_log_level__debug__applies_to_our_own_loggers_only() -> None:
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


def test_json_lines__warnings_and_failed_threads__have_the_same_format() -> None:
    """Nothing of what a running process says falls out of the form."""
    ended = subprocess.run(
        [sys.executable, "-c", SAYS_ALL], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    warning, end, word = map(json.loads, ended.stderr.splitlines())
    assert "a warning" in warning["message"]
    assert end["message"] == "the thread unlucky has ended"
    assert "ZeroDivisionError" in end["exception"]
    assert (word["logger"], word["message"]) == ("somebody.else", "a word")
