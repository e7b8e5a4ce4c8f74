"""An HTTP server that records requests and responds to each with an empty object, over TLS if a context is given."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class RecordingServer:
    """A server that runs.

    Attributes:
        url: its address.
        requests: the request line and the headers of each request.
        bodies: the body of each request.
        common_names: of the client certificate of each request; empty: it had none.
        status: decides the status of a response by the request's headers.
        connections: how many have been opened.
    """

    url: str = ""
    requests: list[tuple[str, Message[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    common_names: list[str] = field(default_factory=list)
    status: Callable[[Message[str, str]], int] = lambda _: 200
    connections: int = 0

    @property
    def tokens(self) -> list[str | None]:
        """The Authorization header of each request."""
        return [headers["Authorization"] for _, headers in self.requests]


@contextmanager
def record(context: ssl.SSLContext | None = None) -> Iterator[RecordingServer]:
    """Run a server on the loopback network.

    Args:
        context: of its TLS; `None`: it speaks HTTP.
    """
    running = RecordingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            running.connections += 1
            super().setup()

        def do_GET(self) -> None:
            running.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            running.requests.append((self.requestline, self.headers))
            certificate: Any = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            names = dict(pair for pairs in (certificate or {}).get("subject", ()) for pair in pairs)
            running.common_names.append(names.get("commonName", ""))
            self.send_response(running.status(self.headers))
            self.send_header("Location", "/elsewhere")  # only redirects have a use for it
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_PATCH = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Keep quiet: clients that refuse the certificate are what some tests are about."""

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            if context is not None:
                try:
                    request = context.wrap_socket(request, server_side=True)
                except OSError:
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)

    with Server(("127.0.0.1", 0), Handler) as server:
        running.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
