"""The API server on a socket.

Built on the standard library's threading HTTP/1.1 server, one thread per connection, because what counts here is to
hold every connection in hand: keep-alive, chunked watches that are flushed line by line, watches that end when their
client vanishes or the server stops. werkzeug's server is the same class behind WSGI, which hides the socket; an
asynchronous server would need a second copy of the store's waiting. Measured on two cores, the client included: 2,500
to 3,600 Jobs created a second, from 1 to 16 connections.
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
from devcluster.http.disconnects import HangupWatcher
from devcluster.http.logs import LogSource
from devcluster.http.messages import MAX_BODY_BYTES, Answer, Request, Stream, answer_error
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
    `tokens` signs the tokens that it hands out.
    """

    def __init__(self, store: Store, logs: LogSource, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.tokens = TokenAuthority()
        self.requests_served: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        self._hangups = HangupWatcher()
        self._listener = _Listener((host, port), Api(store, logs, self.tokens, self._count), self._hangups)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served."""
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        """The server's base URL."""
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._hangups.start()
        self._thread = threading.Thread(target=self._listener.serve, name="api-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving: open watches end, connections are closed. Takes a few seconds at most."""
        if self._thread is not None:
            self._listener.end()
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        self._hangups.stop()
        self._listener.close_connections()
        self._listener.server_close()

    def _count(self, verb: str, resource: str) -> None:
        with self._counting:
            self.requests_served[verb, resource] += 1


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    timeout = 0  # of `handle_request`: a client that is gone by the time that its connection is taken isn't waited for
    request_queue_size = _BACKLOG
    block_on_close = False

    def __init__(self, address: tuple[str, int], api: Api, hangups: HangupWatcher) -> None:
        self.api = api
        self.hangups = hangups
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._waker, self._alarm = socket.socketpair()
        super().__init__(address, _Handler)

    def serve(self) -> None:
        """Take connections until `end`. Unlike `serve_forever`, it wakes for nothing else."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._alarm, selectors.EVENT_READ)
            while all(key.fileobj is not self._alarm for key, _ in selector.select()):
                self.handle_request()

    def end(self) -> None:
        """Let `serve` return."""
        self._waker.send(b"!")

    def server_close(self) -> None:
        """Give every socket back."""
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
        """A client that vanished is nothing to report; anything else is."""
        logger.debug("the connection to %s broke", client_address, exc_info=True)

    def server_bind(self) -> None:
        """Bind without asking the resolver for this host's name, which may take seconds."""
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
        # The base class calls do_<METHOD>; the API itself decides what each method may do.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        try:
            request = self._read_request()
        except ApiError as error:
            self.close_connection = True
            self._send(answer_error(error))
            self._drain()
            return
        answer = self.server.api.handle(request)
        if isinstance(answer, Answer):
            self._send(answer)
        else:
            self._send_stream(answer)

    def _drain(self) -> None:
        """Read what the client still sends of a body that was refused; to close at once would cut off the answer."""
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

    def _send(self, answer: Answer) -> None:
        headers = list(answer.headers)
        if answer.status != HTTPStatus.NO_CONTENT:
            headers += [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        head = self._head(answer.status, headers)
        self.wfile.write(head + answer.body)  # in one write: one packet

    def _send_stream(self, stream: Stream) -> None:
        self.wfile.write(self._head(200, (("Content-Type", stream.content_type), ("Transfer-Encoding", "chunked"))))
        with self.server.hangups.watching(self.connection, stream.close):
            for chunk in stream.chunks:
                if chunk:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")
