"""Gives each request an id, which its response, its log lines and its run carry, and starts its span."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from app.common.random_bytes import random_hex
from app.telemetry.logs import request_id
from app.telemetry.spans import request_span
from app.telemetry.trace_context import TraceContext, read_trace_context

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-Id"

_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}", re.ASCII)
"""Fits UUIDs, ULIDs and base64; no character is special to a log, a shell, a header or a terminal."""


def read_request_id(given: str | None) -> str:
    """Return the id in the request's header if it is well-formed, else a new one."""
    return given if given is not None and _WELL_FORMED.fullmatch(given) else random_hex(16)


class RequestIdMiddleware:
    """WSGI middleware that sets the request id until the response is closed, streams included.

    The request's span ends earlier, with the head of the response.

    Args:
        app: the application to wrap.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        current_id = read_request_id(environ.get("HTTP_X_REQUEST_ID"))
        request_id.set(current_id)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, (HEADER, current_id)], *more)

        try:
            # The id is cleared at the end: threads are reused, and a line logged between two requests belongs to none.
            with request_span("call", _read_trace(environ)):
                return ClosingIterator(self._app(environ, start), _clear)
        except BaseException:
            _clear()
            raise


def _read_trace(environ: "WSGIEnvironment") -> TraceContext | None:
    return read_trace_context(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"))


def _clear() -> None:
    request_id.set("")
