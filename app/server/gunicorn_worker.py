"""gunicorn's threaded worker, changed where one client could slow down all others."""

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import gunicorn.glogging  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped] # gunicorn has no annotations

from app.common.concurrency_limiter import arrived_at
from app.server.gunicorn_parser import Parser, ProblemWriter
from app.server.request_lanes import READ_AHEAD_BYTES, SHORT_REQUEST_THREADS, Kind, RequestLanes, kind_of

_LINGER_SECONDS = 1.0
"""How long to wait for the client to close a connection that the service has ended."""


class Logger(gunicorn.glogging.Logger):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn's log without its access log, which would be formatted for nobody: app/api/access_log.py writes ours."""

    access_log_enabled = False


class Worker(ThreadWorker):  # type: ignore[misc] # gunicorn has no annotations
    """gunicorn's threaded worker with our parser, problem documents, and another way to end connections.

    gunicorn 26 and 27 wait in the loop that accepts connections until a client closes an ended connection: one slow
    client would stop the service for two seconds, and fifteen would get the worker killed as hung. Here the
    connection's own thread waits.

    Attributes:
        on_drain: called when the worker stops accepting connections and only completes those that it has, which slow
            clients can prolong until the worker is killed. It must return at once.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.on_drain: Callable[[], None] = lambda: None
        self._lanes: RequestLanes[Any] = RequestLanes(max(0, self.cfg.threads - SHORT_REQUEST_THREADS))

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
        """Let a connection that can be read wait for a thread, in the lane of its request."""
        conn.data_ready = True
        if self.cfg.is_ssl:  # nothing can be told before the handshake
            kind = Kind.START
        else:
            if conn.parser is None:
                conn.parser = Parser(conn.cfg, conn.sock, conn.client)
            sent = _read_ahead(conn)
            if sent == b"":
                self.nr_conns -= 1
                conn.close()
                return
            if sent is None:
                conn.set_timeout()
                self.pending_conns.append(conn)
                self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
                return
            kind = kind_of(sent)
        conn.arrived_at = time.monotonic()
        self._lanes.add(kind, conn)
        self._give_threads()

    def _give_threads(self) -> None:
        while (turn := self._lanes.next()) is not None:
            kind, conn = turn
            conn.kind = kind
            super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Take a connection back from its thread, which is free for the next request."""
        self._lanes.release(conn.kind)
        super().finish_request(conn, fs)
        self._give_threads()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once (SIGQUIT, SIGINT), without taking the thread pool's locks.

        The threaded worker's own handler takes them to shut the pool down. It interrupts this thread anywhere: if that
        is where the thread holds these locks to hand over a connection, it would wait for itself until it is killed.
        """
        super(ThreadWorker, self).handle_quit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """Serve a request. Return a true value if the connection stays open."""
        arrived_at.set(conn.arrived_at)
        stays_open = super().handle(conn)
        if not stays_open:
            with suppress(OSError):  # closed already
                conn.sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + _LINGER_SECONDS
                while (left_seconds := deadline - time.monotonic()) > 0:
                    conn.sock.settimeout(left_seconds)
                    if not conn.sock.recv(65536):
                        break
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)  # so that gunicorn does not wait
        return stays_open

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Respond to a malformed request, or to an error outside of Flask, with a problem document."""
        super().handle_error(req, ProblemWriter(client), addr, exc)


def _read_ahead(conn: Any) -> bytes | None:
    """Read the first bytes of a connection's next request; `None`: there are none yet; empty: the client has left."""
    buffered: bytes = conn.parser.unreader.buf.getvalue()  # read together with the request before
    if buffered:
        return buffered
    try:
        sent: bytes = conn.sock.recv(READ_AHEAD_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    conn.parser.unreader.unread(sent)
    return sent
