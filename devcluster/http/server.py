"""The API server's HTTP/1.1 server.

It is based on the standard library's threading HTTP server, with one thread per connection, because it needs full
control of each connection: keep-alive, chunked watches flushed line by line, and watches that end when their client
disconnects or the server stops. werkzeug's server is the same class behind WSGI, which hides the socket; an
asynchronous server would need a second implementation of waiting for the store. Measured on two cores, including the
client: 2,500 to 3,600 Jobs created per second, over 1 to 16 connections.
"""

import contextlib
import logging
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from devcluster.errors import ApiError, bad_request
from devcluster.http.api import Api
from devcluster.http.bodies import check_size
from devcluster.http.disconnects import DisconnectWatcher
from devcluster.http.logs import LogSource
from devcluster.http.messages import MAX_BODY_BYTES, Request, Response, Stream, error_response
from devcluster.store import Store
from devcluster.tokens import TokenAuthority

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_BACKLOG = 128
_DRAIN_SECONDS = 2.0
_DRAIN_BYTES = 1024 * 1024
_HEADERS = (("Cache-Control", "no-cache, private"),)


class ApiServer:
    """Serves a store over HTTP on one address; `port` 0 picks a free one.

    `requests_served` counts the requests by (verb, resource), such as ("create", "jobs") or ("get", "pods/log").
    `tokens` signs the tokens that it issues.
    """

    def __init__(self, store: Store, logs: LogSource, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.tokens = TokenAuthority()
        self.requests_served: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._disconnects = DisconnectWatcher()
        self._listener = _Listener((host, port), Api(store, logs, self.tokens, self._count), self._disconnects)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        """The server's base URL."""
        host, port = self._listener.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Serve in a new thread."""
        self._disconnects.start()
        self._thread = threading.Thread(target=self._listener.serve, name="api-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving: end open watches and close connections. Takes a few seconds at most."""
        if self._thread is not None:
            self._listener.end()
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        self._disconnects.stop()
        self._listener.close_connections()
        self._listener.server_close()

    def _count(self, verb: str, resource: str) -> None:
        with self._counting:
            self.requests_served[verb, resource] += 1


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    timeout = 0  # of `handle_request`: do not wait for a client that left before its connection was accepted
    request_queue_size = _BACKLOG
    block_on_close = False

    def __init__(self, address: tuple[str, int], api: Api, disconnects: DisconnectWatcher) -> None:
        self.api = api
        self.disconnects = disconnects
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._waker, self._alarm = socket.socketpair()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def serve(self) -> None:
        """Accept connections until `end` is called. Unlike `serve_forever`, this does not poll."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            while all(key.fileobj is not self._alarm for key, _ in selector.select()):
                self.handle_request()

    def end(self) -> None:
        """Make `serve` return."""
        self._waker.send(b"!")

    def server_close(self) -> None:
        """Close all sockets."""
        super().server_close()
        self._waker.close()
        self._alarm.close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._connections.discard(request)

    def close_connections(self) -> None:
        """Wake every thread that reads from a client."""
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection at debug level, and any other error as an error."""
        logger.debug("the connection to %s broke", client_address, exc_info=True)

    def server_bind(self) -> None:
        """Bind without resolving this host's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 65536
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class calls do_<METHOD>; the API decides which methods a path supports.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        try:
            request = self._read_request()
        except ApiError as error:
            self.close_connection = True
            self._send(error_response(error))
            self._drain()
            return
        response = self.server.api.handle(request)
        if isinstance(response, Response):
            self._send(response)
        else:
            self._send_stream(response)

    def _drain(self) -> None:
        """Read the rest of a refused body; closing at once could discard the response."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_DRAIN_SECONDS)
        with contextlib.suppress(OSError):
            while self.rfile.read1(_DRAIN_BYTES):
                pass

    def _read_request(self) -> Request:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        own_address = str(self.connection.getsockname()[0])
        return Request(self.command, parts.path, query, self.headers, self._read_body(), own_address)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._read_chunks())
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise bad_request("malformed Content-Length")
        check_size(int(length), MAX_BODY_BYTES)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("the client closed the connection within a body")
        return body

    def _read_chunks(self) -> Iterator[bytes]:
        total = 0
        while True:
            try:
                size = int(self.rfile.readline(1024).partition(b";")[0], 16)
            except ValueError:
                raise bad_request("malformed chunked encoding") from None
            total += size
            check_size(total, MAX_BODY_BYTES)
            chunk = self.rfile.read(size)
            self.rfile.readline(3)
            if not size:
                return
            yield chunk

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in (*_HEADERS, *headers)]
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace")

    def _send(self, response: Response) -> None:
        headers = list(response.headers)
        if response.status != HTTPStatus.NO_CONTENT:
            headers += [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
        head = self._head(response.status, headers)
        self.wfile.write(head + response.body)  # in one write, so that it is one packet

    def _send_stream(self, stream: Stream) -> None:
        self.wfile.write(self._head(200, (("Content-Type", stream.content_type), ("Transfer-Encoding", "chunked"))))
        with self.server.disconnects.watching(self.connection, stream.close):
            for chunk in stream.chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")
