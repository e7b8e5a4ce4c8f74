"""The id of each call, in the answer, the log and the run's annotations; and its span, where spans are made."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from app.common.random_bytes import random_hex
from app.telemetry.logs import request_id
from app.telemetry.spans import call_span
from app.telemetry.trace_context import TraceContext, read_trace_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-Id"

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}", re.ASCII)
"""Nothing that means something to a log, a shell, a header or a terminal; UUIDs, ULIDs and base 64 fit."""


def read_request_id(given: str | None) -> str:
    """The id that a call's header gives, if it is well-formed; else a new one."""
    return given if given is not None and _WELL_FORMED.fullmatch(given) else random_hex(16)


class RequestIds:
    """Gives every call its id, for as long as it is answered, streams included; a span lasts until the answer's head.

    Args:
        app: what answers.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a call."""
        known = read_request_id(environ.get("HTTP_X_REQUEST_ID"))
        request_id.set(known)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, known)], *more)

        try:
            # Threads serve one call after the other: what they say between two belongs to none.
            with call_span("call", _trace_of(environ)):
                return ClosingIterator(self._app(environ, start), _forget)
        except BaseException:
            _forget()
            raise


def _trace_of(environ: "WSGIEnvironment") -> TraceContext | None:
    return read_trace_context(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))


def _forget() -> None:
    request_id.set("")
