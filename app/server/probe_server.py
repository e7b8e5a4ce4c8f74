"""The small HTTP server of a process that only dispatches: for probes and scrapes, a few at a time."""

import logging
import socket
import threading
from contextlib import suppress
from http.client import LineTooLong
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from app.telemetry.metrics import LIMITER_REFUSALS
from schemas.problem import CONTENT_TYPE

log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Connections at the same time: whoever makes many must not fill the memory. One more takes the place of the oldest,
which has had the most time to send its request: whoever holds all places must not keep the kubelet's probes out."""

_ENDING_SECONDS = 1.0
"""How long a connection may take to end that has lost its place."""

_SILENCE_SECONDS = 4.0
"""How long a client may take to send its request, or to take its answer."""


ServerHandler.server_software = "slimfaas-jobs"  # the class that wsgiref offers no other way to


_WHOLE_SECONDS = 12.0
"""How long a connection may last, however busy its client: longer than the probes' own timeouts."""


_HEAD_BYTES = 16 * 1024
"""The most that the head of a request may have in all; the library would take 100 lines of 64 KiB from each client."""


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)


class _Head:
    """What a client sends, of whose lines there are no more bytes than a head may have."""

    def __init__(self, sent: Any) -> None:
        self._sent = sent
        self._left_bytes = _HEAD_BYTES

    def __getattr__(self, name: str) -> Any:
        """Everything else is the connection's."""
        return getattr(self._sent, name)

    def readline(self, size: int) -> bytes:
        if self._left_bytes <= 0:
            raise LineTooLong("head")  # which the library answers with 431
        line: bytes = self._sent.readline(min(size, self._left_bytes))
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
        """Refuse what can't be read as HTTP, in the status's own words: the library's repeat what was sent."""
        super().send_error(code)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("a probe: %s", self.client_address[0])

    def get_stderr(self) -> Any:
        return _Silence()


class _Silence:
    """Takes what wsgiref would print of clients that have left."""

    def write(self, text: str) -> None:
        log.debug("%s", text)

    def flush(self) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._served: dict[Any, None] = {}  # the connections, the oldest first
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind, without asking a name server for our own name, as the library's would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is a place for one more."""
        if self._places.acquire(blocking=False):
            return True
        LIMITER_REFUSALS.labels("probes").inc()
        with self._lock:
            oldest = next(iter(self._served), None)
            self._served.pop(oldest, None)
        if oldest is not None:
            _hang_up(oldest)
        return self._places.acquire(timeout=_ENDING_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._served[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there is no thread to be had
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(_WHOLE_SECONDS, _hang_up, [request])
        end.daemon = True
        try:
            end.start()
            super().process_request_thread(request, client_address)
        except RuntimeError:  # there is no thread to be had: it isn't served without its bound
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        finally:
            end.cancel()
            self._forget(request)

    def _forget(self, request: Any) -> None:
        with self._lock:
            self._served.pop(request, None)
        self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a probe's connection broke", exc_info=True)


class ProbeServer:
    """Serves an application in threads of its own, from its making to its close.

    Args:
        app: a WSGI application.
        port: where, on every address; 0: any that is free.

    Raises:
        OSError: the port can't be had.
    """

    def __init__(self, app: Any, port: int) -> None:
        self._server = _Server(("0.0.0.0", port), _Handler)  # noqa: S104 - the kubelet and Prometheus come from outside
        self._server.set_app(app)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; returns soon."""
        self._server.shutdown()
        self._server.server_close()
