"""The W3C trace context of a request: https://www.w3.org/TR/trace-context/.

OpenTelemetry's API has a parser, too, but is an optional dependency; and it lets through what must not become an
annotation of a Job (ADR 12).
"""

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(rf"(?P<key>{_KEY})={_VALUE}", re.ASCII)

_MAX_MEMBERS = 32
_MAX_STATE_CHARACTERS = 512
"""The standard requires that at least this many are passed on."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A position in a trace.

    Attributes:
        traceparent: the header, in version 00 of the standard.
        tracestate: the header with the tracing systems' own values; empty: none.
    """

    traceparent: str
    tracestate: str = ""


def read_trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """Parse the two headers of a request.

    - A `traceparent` that the standard calls invalid is ignored: upper case, zero ids, version ff, or a version 00 with
      further parts.
    - Of a later version, only the parts of version 00 are kept.
    - A `tracestate` that is invalid or too long is dropped; `traceparent` is kept.

    Returns:
        The context; `None` without a valid `traceparent`.
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
    valid = len(names) == len(found) == len(set(names)) and len(found) <= _MAX_MEMBERS
    state = ",".join(member for member in members if member)
    return state if valid and len(state) <= _MAX_STATE_CHARACTERS else ""
