"""gunicorn's threaded worker, changed where one client could slow down all others."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped] # gunicorn has no annotations

from app.server.gunicorn_parser import Parser, ProblemWriter

_LINGER_SECONDS = 1.0
"""How long to wait for the client to close a connection that the service has ended."""


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

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not, and call `on_drain` once the worker begins to stop.

        gunicorn has no hook for that. Its signal handler is not the place: it interrupts this thread anywhere, so it
        must not take a lock.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            self.on_drain()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once (SIGQUIT, SIGINT), without taking the thread pool's locks.

        The threaded worker's own handler takes them to shut the pool down. It interrupts this thread anywhere: if that
        is where the thread holds these locks to hand over a connection, it would wait for itself until it is killed.
        """
        super(ThreadWorker, self).handle_quit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """Serve a request. Return a true value if the connection stays open."""
        if conn.parser is None and not self.cfg.is_ssl:  # gunicorn has yet to wrap the socket in TLS
            conn.parser = Parser(conn.cfg, conn.sock, conn.client)
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
