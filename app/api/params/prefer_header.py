"""The preference `Prefer: wait=N` (RFC 7240), and the responses to requests that have it."""

import re
from collections.abc import Iterator, Mapping

from flask import Request, Response

from app.api.responses import json_response
from app.runs.waiting import has_ended
from schemas.run import RunSchema, RunView

MAX_WAIT_SECONDS = 300
"""The longest wait. A longer one is reduced to this, and `Preference-Applied` says so."""

_PIECES = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^,"]+|,', re.DOTALL)
"""A comma that ends an element of a list, a quoted text (to the end of the header, if its second quote is missing), or
anything else. Each character is looked at once: backtracking would let one header hold the process for seconds."""

_run_schema = RunSchema()


def parse_wait(header: str) -> int | None:
    """Return for how many seconds a `Prefer` header asks to wait, at most `MAX_WAIT_SECONDS`; `None` if it does not.

    The first `wait` counts (RFC 7240, section 2). Unknown and malformed preferences are ignored.
    """
    for element in _split_list(header):
        name, _, value = element.partition(";")[0].partition("=")
        if name.strip(" \t").lower() == "wait":
            return _read_seconds(value.strip(" \t"))
    return None


def _split_list(header: str) -> Iterator[str]:
    """Yield the elements of a comma-separated list; commas within quotes do not separate."""
    pieces: list[str] = []
    for piece in _PIECES.findall(header):
        if piece == ",":
            yield "".join(pieces)
            pieces.clear()
        else:
            pieces.append(piece)
    yield "".join(pieces)


def _read_seconds(text: str) -> int | None:
    """Return a number of seconds, at most `MAX_WAIT_SECONDS`; `None` if the text is not a number, quoted or not."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    if not (text.isascii() and text.isdigit()):
        return None
    # The length is compared first: Python refuses to convert thousands of digits.
    digits = text.lstrip("0") or "0"
    return MAX_WAIT_SECONDS if len(digits) > len(str(MAX_WAIT_SECONDS)) else min(int(digits), MAX_WAIT_SECONDS)


def read_wait(request: Request) -> int | None:
    """Return for how many seconds a request asks to wait; see `parse_wait`."""
    return parse_wait(request.headers.get("Prefer", ""))


def respond_with_run(
    view: RunView, wait_seconds: int | None, headers: Mapping[str, str] | None = None, *, unfinished_status: int = 200
) -> Response:
    """Build the response that shows a run.

    Args:
        view: the run.
        wait_seconds: the wait that the request asked for, which `Preference-Applied` confirms; `None`: none.
        headers: further headers.
        unfinished_status: the HTTP status if the run has not ended; otherwise it is 200.
    """
    applied = {} if wait_seconds is None else {"Preference-Applied": f"wait={wait_seconds}"}
    status = 200 if has_ended(view) else unfinished_status
    return json_response(_run_schema.dump(view), status, {**(headers or {}), **applied})
