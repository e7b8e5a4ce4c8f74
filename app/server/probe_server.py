"""A small HTTP server for probes, with connections and threads of its own.

The process that only dispatches serves its probes and metrics with it. A gunicorn worker serves `SLIMFAAS_PROBE_PORT`
with it: however many connections callers keep open on the other port, the kubelet's are accepted.
"""

import json
import logging
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from app.telemetry.metrics import LIMITER_REFUSALS
from schemas.problem import CONTENT_TYPE, Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 8
"""Connections at the same time, which bounds memory. A further one replaces the oldest, which has had the most time to
send its request: clients that hold all connections cannot keep the kubelet's probes out."""

_CLOSE_SECONDS = 1.0
"""How long a replaced connection may take to close."""

_SILENCE_SECONDS = 4.0
"""How long a client may pause while it sends its request or reads its response."""

_HEAD_BYTES = 16 * 1024
"""The largest head of a request; http.server would read 100 lines of 64 KiB from each client."""

ServerHandler.server_software = "slimfaas-jobs"  # wsgiref has no other way to set the Server header


class _Head:
    """A client's input whose lines have `_HEAD_BYTES` in all."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._left_bytes = _HEAD_BYTES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def readline(self, size: int) -> bytes:
        if self._left_bytes <= 0:
            raise LineTooLong("head")  # http.server responds with 431
        line: bytes = self._source.readline(min(size, self._left_bytes))
        self._left_bytes -= len(line)
        return line


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_SECONDS
    error_content_type = CONTENT_TYPE
    error_message_format = '{"type": "about:blank", "title": "%(message)s", "status": %(code)d}\n'

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Head(self.rfile)

    def version_string(self) -> str:
        return ServerHandler.server_software

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a malformed request with the status's own phrase: the library's messages repeat what was sent."""
        super().send_error(code)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("a probe from %s", self.client_address[0])

    def get_stderr(self) -> Any:
        return _DebugLog()


class _DebugLog:
    """A stream to the debug log, for the traces that wsgiref prints when a client disconnects."""

    def write(self, text: str) -> None:
        log.debug("%s", text)

    def flush(self) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._connections: dict[Any, None] = {}  # the oldest first
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # The library's own methods would bind, and make a DNS query for this machine's name.
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether the connection can be served, closing the oldest one if there are too many."""
        if self._free.acquire(blocking=False):
            return True
        LIMITER_REFUSALS.labels("probes").inc()
        with self._lock:
            oldest = next(iter(self._connections), None)
            self._connections.pop(oldest, None)
        if oldest is not None:
            with suppress(OSError):  # it has closed already
                oldest.shutdown(socket.SHUT_RDWR)
        return self._free.acquire(timeout=_CLOSE_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no thread left
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def _forget(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a probe's connection failed", exc_info=True)


class ProbeServer:
    """Serves a WSGI application in threads of its own, from construction until `close`.

    Args:
        app: the application.
        listener: a socket that listens. Several processes may serve the same one.
    """

    def __init__(self, app: "WSGIApplication", listener: socket.socket) -> None:
        self._server = _Server(listener)
        self._server.set_app(app)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; returns within a second."""
        self._server.shutdown()
        self._server.server_close()


class ProbePaths:
    """WSGI middleware that serves `/health` and `/ready` of an application, and nothing else.

    Args:
        app: the application.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        if environ["PATH_INFO"] in ("/health", "/ready"):
            return self._app(environ, start_response)
        problem = Problem(HTTPStatus.NOT_FOUND, "this port serves /health and /ready only")
        body = json.dumps(problem.document()).encode() + b"\n"
        start_response("404 Not Found", [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))])
        return [body]
