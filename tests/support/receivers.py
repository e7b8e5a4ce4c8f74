"""A receiver of notifications: an HTTP server that records what it is sent, and answers what a test wants."""

import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.support.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Received:
    """A request.

    Attributes:
        path: with the query.
        headers: by name in lower case.
        body: as sent.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        """The id by which receivers know an event that they have seen."""
        return self.headers["webhook-id"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request.

    Attributes:
        status: the HTTP status.
        headers: further headers.
        hangs: whether there is none until the receiver is closed.
    """

    status: int = 204
    headers: Mapping[str, str] | None = None
    hangs: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients go when they like."""


class Receiver:
    """Listens on loopback for as long as the context lasts, and can be closed and opened again at the same port.

    Args:
        answer: returns the reply to a request; called in the request's thread.
        certificate: for HTTPS; `None`: HTTP.
    """

    def __init__(
        self, answer: Callable[[Received], Reply] = lambda _: Reply(), *, certificate: Certificate | None = None
    ) -> None:
        self.answer = answer
        self._certificate = certificate
        self._port = 0
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._server: _Server | None = None

    @property
    def received(self) -> list[Received]:
        """The requests so far."""
        with self._lock:
            return list(self._received)

    @property
    def url(self) -> str:
        """The URL of a path."""
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self._port}/ends?a=1"

    @property
    def url_by_name(self) -> str:
        """The same with a host name."""
        return self.url.replace("127.0.0.1", "localhost")

    def open(self) -> None:
        """Listen."""
        receiver = self
        closed = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers, body)
                with receiver._lock:
                    receiver._received.append(received)
                reply = receiver.answer(received)
                if reply.hangs:
                    closed.wait()
                    return
                self.send_response(reply.status)
                for name, value in (reply.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Tests print nothing."""

        self._server = server = _Server(("127.0.0.1", self._port), Handler)
        self._port = server.server_address[1]
        self._closed = closed
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate.certificate, self._certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more; requests that hang end without a response."""
        if self._server is not None:
            self._closed.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        self.close()
