"""The caller's place in a trace, as the W3C writes it down: https://www.w3.org/TR/trace-context/."""

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(rf"(?P<key>{_KEY})={_VALUE}", re.ASCII)

_MOST_MEMBERS = 32
_MOST_STATE = 512
"""The standard asks for at least so many characters to be passed on."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace something happens.

    Attributes:
        traceparent: in version 00 of the standard.
        tracestate: what tracing systems have added, in the standard's form; empty: nothing.
    """

    traceparent: str
    tracestate: str = ""


def read_trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """Read the two headers of a call; `None`: there is no valid `traceparent`, so the call belongs to no trace.

    Guarantees:
        - what the standard calls invalid is ignored: upper case, zero ids, version ff, a version 00 that goes on;
        - of a later version, which may go on, remain the parts that version 00 knows;
        - a `tracestate` that is invalid or too long is dropped, and `traceparent` counts all the same.
    """
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or found["version"] == "ff" or not found["trace"].strip("0") or not found["parent"].strip("0"):
        return None
    if found["version"] == "00" and found["more"] is not None:
        return None
    flags = found["flags"] if found["version"] == "00" else f"{int(found['flags'], 16) & 1:02x}"
    return TraceContext(f"00-{found['trace']}-{found['parent']}-{flags}", _read_state(tracestate or ""))


def _read_state(text: str) -> str:
    members = [member.strip(" \t") for member in text.split(",")]
    found = [_MEMBER.fullmatch(member) for member in members if member]
    names = [member["key"] for member in found if member is not None]
    valid = len(names) == len(found) == len(set(names)) and len(found) <= _MOST_MEMBERS
    state = ",".join(member for member in members if member)
    return state if valid and len(state) <= _MOST_STATE else ""
