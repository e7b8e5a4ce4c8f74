"""The preference to wait, `Prefer: wait=N`, and the answers to those who have it (RFC 7240)."""

import re
from collections.abc import Mapping

from flask import Request, Response

from app.api.responses import json_response
from app.runs.waiting import has_ended
from schemas.run import RunSchema, RunView

MOST_SECONDS = 300
"""The longest wait; who asks for more gets this, and is told so."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ELEMENTS = re.compile(rf"(?:{_QUOTED}|[^,\"])+")
"""What stands between the commas of a list, those within quotes left alone."""

_WAIT = re.compile(rf"[ \t]*wait[ \t]*(?:=[ \t]*(?P<value>{_QUOTED}|[^;\" \t]*))?[ \t]*(?:;.*)?", re.IGNORECASE)

_run_schema = RunSchema()


def parse_wait(header: str) -> int | None:
    """How many seconds a `Prefer` header asks to wait, at most `MOST_SECONDS`; `None`: not at all, as far as it counts.

    The first `wait` counts (RFC 7240, section 2); preferences that are unknown or malformed are ignored.
    """
    for element in _ELEMENTS.findall(header):
        if found := _WAIT.fullmatch(element):
            value = re.sub(r"\\(.)", r"\1", (found["value"] or "").strip('"'))
            if not re.fullmatch("[0-9]+", value):
                return None
            # Compared by its length first: Python reads no number of thousands of digits.
            digits = value.lstrip("0") or "0"
            return MOST_SECONDS if len(digits) > len(str(MOST_SECONDS)) else min(int(digits), MOST_SECONDS)
    return None


def read_wait(request: Request) -> int | None:
    """How many seconds a request asks to wait, see `parse_wait`."""
    return parse_wait(request.headers.get("Prefer", ""))


def answer_with(
    view: RunView, wait_seconds: int | None, headers: Mapping[str, str] | None = None, *, unfinished: int = 200
) -> Response:
    """Answer with a run.

    Args:
        view: the run.
        wait_seconds: how long its caller wanted to wait, which is confirmed; `None`: didn't.
        headers: of the answer.
        unfinished: the status where the run hasn't ended; else it is 200.
    """
    applied = {} if wait_seconds is None else {"Preference-Applied": f"wait={wait_seconds}"}
    status = 200 if has_ended(view) else unfinished
    return json_response(_run_schema.dump(view), status, {**(headers or {}), **applied})
