"""gunicorn's threaded worker, changed where one client could slow down all others."""

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import gunicorn.glogging  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped] # gunicorn has no annotations

from app.common.concurrency_limiter import arrived_at
from app.server.gunicorn_parser import Parser, ProblemWriter, write_problem
from app.server.listen import plain_address
from app.server.request_intake import RequestIntake
from app.server.request_lanes import (
    MAX_READ_AHEAD_BYTES,
    READ_AHEAD_BYTES,
    SHORT_REQUEST_THREADS,
    Kind,
    RequestLanes,
    kind_of,
)
from app.server.request_scan import RequestScan
from app.telemetry.metrics import LIMITER_REFUSALS
from schemas.problem import Problem

_JOINED_BYTES = 16 * 1024
"""The longest piece of a response that is copied to be sent together with its head."""

_CHECK_SECONDS = 0.1
"""How often to look for connections whose time is over."""

_SKIP_BYTES = 16 * 1024
"""How much is skipped at once of what nobody wants any more."""

_BUSY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "other requests hold the memory for this one; nothing has been done",
    (),
    {"Retry-After": "1"},
)

_LINGER_SECONDS = 1.0
"""How long to wait for the client to close a connection that the service has ended."""


class Logger(gunicorn.glogging.Logger):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn's log without its access log, which would be formatted for nobody: app/api/access_log.py writes ours."""

    access_log_enabled = False


class Worker(ThreadWorker):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn's threaded worker with our parser, problem documents, and another way to end connections.

    gunicorn 26 and 27 wait in the loop that accepts connections until a client closes an ended connection: one slow
    client would stop the service for two seconds, and fifteen would get the worker killed as hung. Here the loop goes
    on meanwhile.

    Attributes:
        on_drain: called when the worker stops accepting connections and only completes those that it has, which slow
            clients can prolong until the worker is killed. It must return at once.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.on_drain: Callable[[], None] = lambda: None
        self._lanes: RequestLanes[Any] = RequestLanes(max(0, self.cfg.threads - SHORT_REQUEST_THREADS))
        self._ahead_bytes = 0  # read of requests that wait for a thread, without those that the intake received
        self._lingering: dict[Any, None] = {}  # connections that the service has ended
        self._intake = RequestIntake(lambda: self.poller, self._queue, self._refuse)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not, and call `on_drain` once the worker begins to stop.

        gunicorn has no hook for that. Its signal handler is not the place: it interrupts this thread anywhere, so it
        must not take a lock.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            for conn in self.pending_conns:  # they have sent nothing: gunicorn's loop closes them
                conn.timeout = 0.0
            self.on_drain()

    def enqueue_req(self, conn: Any) -> None:
        """Let a connection that can be read wait for a thread, or for the rest of its request."""
        conn.data_ready = True
        conn.refusal = None
        conn.ahead_bytes = 0
        if self.cfg.is_ssl:  # nothing can be told before the handshake
            self._add_to_lane(conn, Kind.START)
            return
        sent = self._read_ahead(conn)
        if sent == b"":
            self.nr_conns -= 1
            conn.close()
            return
        if sent is None:
            conn.set_timeout()
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
            return
        if conn.parser is not None:
            conn.parser.deadline, conn.parser.was_continued = None, False
        conn.ahead_bytes = _count_buffered(conn)
        self._ahead_bytes += conn.ahead_bytes
        scan = RequestScan()
        missing = scan.missing(sent)
        if missing:
            _add_parser(conn)
            self._intake.receive(conn, scan, sent, missing)
        else:
            self._add_to_lane(conn, kind_of(sent))

    def _queue(self, conn: Any) -> None:
        """Let a request that the intake has received wait for a thread."""
        self._add_to_lane(conn, kind_of(conn.parser.unreader.buf.getvalue()))

    def _refuse(self, conn: Any) -> None:
        """Refuse a request that could not be received in time. A thread does so: the client may read slowly."""
        LIMITER_REFUSALS.labels("bodies").inc()
        conn.refusal = _BUSY
        self._add_to_lane(conn, Kind.READ)

    def _add_to_lane(self, conn: Any, kind: Kind) -> None:
        conn.arrived_at = time.monotonic()
        self._lanes.add(kind, conn)
        self._give_threads()

    def murder_pending(self) -> None:
        """End connections whose time is over; gunicorn's loop calls it again and again."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn in self._lingering if now > conn.timeout]:
            self._close(conn)
        self._intake.end_late_requests(crowded=self.nr_conns >= self.worker_connections)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events, not for long while requests arrive or connections linger: their times end soon."""
        is_idle = self._intake.is_empty and not self._lingering
        super().wait_for_and_dispatch_events(timeout if is_idle else min(timeout, _CHECK_SECONDS))

    def _read_ahead(self, conn: Any) -> bytes | None:
        """Read the first bytes of a connection's next request; `None`: there are none yet; empty: the client has left.

        If requests that wait for a thread have much in memory already, the bytes stay in the kernel's buffer.
        """
        if _count_buffered(conn):  # read together with the request before
            buffered: bytes = conn.parser.unreader.buf.getvalue()
            return buffered
        stay = self._ahead_bytes >= MAX_READ_AHEAD_BYTES
        try:
            sent: bytes = conn.sock.recv(READ_AHEAD_BYTES, socket.MSG_PEEK if stay else 0)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if sent and not stay:
            _add_parser(conn)
            conn.parser.unreader.unread(sent)
        return sent

    def _give_threads(self) -> None:
        while (turn := self._lanes.next()) is not None:
            kind, conn = turn
            conn.kind = kind
            self._ahead_bytes -= conn.ahead_bytes
            super().enqueue_req(conn)
            self._intake.release(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Take a connection back from its thread, which is free for the next request."""
        self._lanes.release(conn.kind)
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
        else:
            self._linger(conn)
        self._give_threads()

    def _linger(self, conn: Any) -> None:
        """Wait for the client to close a connection that the service has ended, without a thread.

        If it were closed while the client is still sending, the client might never see the response.
        """
        conn.timeout = time.monotonic() + _LINGER_SECONDS
        self._lingering[conn] = None
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._skip, conn))
        except (OSError, ValueError):  # closed already
            self._close(conn)

    def _skip(self, conn: Any, _socket: socket.socket) -> None:
        """Skip what the client of an ended connection still sends."""
        try:
            if conn.sock.recv(_SKIP_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:  # a TLS connection, too
            pass
        self._close(conn)

    def _close(self, conn: Any) -> None:
        """Close a connection that lingers."""
        del self._lingering[conn]
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once (SIGQUIT, SIGINT), without taking the thread pool's locks.

        The threaded worker's own handler takes them to shut the pool down. It interrupts this thread anywhere: if that
        is where the thread holds these locks to hand over a connection, it would wait for itself until it is killed.
        """
        super(ThreadWorker, self).handle_quit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """Serve a request. Return a true value if the connection stays open."""
        arrived_at.set(conn.arrived_at)
        if not self.cfg.is_ssl:
            _add_parser(conn)
        if conn.refusal is None:
            stays_open = super().handle(conn)
        else:
            stays_open = False
            with suppress(OSError):  # the client has left
                conn.sock.setblocking(True)
                conn.sock.sendall(write_problem(conn.refusal))
        if not conn.is_http2 and conn.parser is not None:
            conn.parser.mesg = None  # a connection that only waits must not keep the head of its last request
        if stays_open and _count_buffered(conn) and self._ahead_bytes >= MAX_READ_AHEAD_BYTES:
            stays_open = False  # nobody may fill the memory with requests that are sent before the responses are read
        return stays_open

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Respond to a request. Return a true value if the connection may stay open."""
        conn.sock = response = ResponseSocket(conn.sock)
        try:
            stays_open = super().handle_request(req, conn)
            response.flush()
        finally:
            conn.sock = response.connection
        return stays_open

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Respond to a malformed request, or to an error outside of Flask, with a problem document."""
        super().handle_error(req, ProblemWriter(client), addr, exc)


class ResponseSocket:
    """A client's connection that sends the head of a response together with its body.

    gunicorn sends them one by one. Each system call gives the interpreter to another thread. The head of a response
    without a Content-Length, such as a log that is followed, is sent at once.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._head = b""
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the connection."""
        return getattr(self.connection, name)

    def sendall(self, piece: bytes) -> None:
        """Send a piece of a response; its head waits for the next piece, or for `flush`."""
        if not self._begun and b"\r\nContent-Length: " in piece:  # the first piece is the head
            self._head, self._begun = piece, True
            return
        self._begun = True
        if len(piece) > _JOINED_BYTES:  # a copy of it would stay until the client has read it
            self.flush()
        head, self._head = self._head, b""
        self.connection.sendall(head + piece if head else piece)

    def sendfile(self, *arguments: Any, **options: Any) -> int:
        """Send a file, after the head."""
        self.flush()
        return self.connection.sendfile(*arguments, **options)

    def flush(self) -> None:
        """Send a head that no body has followed."""
        head, self._head = self._head, b""
        if head:
            self.connection.sendall(head)


def _add_parser(conn: Any) -> None:
    """Give a connection our parser, if it has none yet. A connection that only waits needs none."""
    if conn.parser is None:
        conn.client = plain_address(conn.client)
        conn.parser = Parser(conn.cfg, conn.sock, conn.client)


def _count_buffered(conn: Any) -> int:
    """Return how many bytes of requests are in memory that no thread has parsed yet."""
    return 0 if conn.parser is None or conn.is_http2 else conn.parser.unreader.buf.getbuffer().nbytes
