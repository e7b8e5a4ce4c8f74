"""Receives requests whose clients have not sent all of them yet, in the server's loop.

A request gets a thread when it is complete. So clients that send slowly hold no thread: only their connection, and
bytes of a budget, in which addresses take turns (app/server/receive_budget.py). They keep these bytes as long as nobody
else needs them. If others wait for bytes or for a connection, a request has `_CROWDED_SECONDS` to arrive. Who has bytes
and needs more has the same time to get them: else such requests could hold the whole budget and wait for each other.
"""

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.common.concurrency_limiter import MAX_WAIT_SECONDS
from app.common.http_limits import MAX_BODY_BYTES
from app.server.gunicorn_parser import REQUEST_SECONDS
from app.server.receive_budget import ReceiveBudget
from app.server.request_scan import RequestScan

_RECEIVE_BYTES = 8 * MAX_BODY_BYTES
"""What all requests may have in memory together while they arrive or, complete, wait for a thread."""

_HEAD_BYTES = 8 * 1024
"""How many bytes a request asks for while its length is not known, each time. Most heads are smaller."""

_PIECE_BYTES = 16 * 1024
"""How much is read at once; the kernel holds less of a connection (app/server/gunicorn_conf.py)."""

SILENCE_SECONDS = 4.0
"""How long a client may pause while it sends a request."""

_CROWDED_SECONDS = 1.0
"""How long a request may take to arrive while others wait for its bytes or for its connection. Over a connection of
1 Mbit/s, the largest body takes half of that."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class _Incoming:
    """A request that is not complete.

    Attributes:
        scan: of what has arrived.
        began_at: when its first bytes arrived.
        heard_at: when its last bytes arrived, or when it got its bytes of the budget.
        received_since: when it got its bytes of the budget; `None`: it waits for them.
    """

    scan: RequestScan
    began_at: float
    heard_at: float
    received_since: float | None = None


class RequestIntake:
    """The requests that are not complete. For one thread: the server's loop.

    Args:
        poller: returns the loop's selector, which calls a key's data with its file.
        serve: called with a connection whose request is complete, or whose time is over: then the parser of the
            connection waits for nothing more.
        refuse: called with a connection whose request did not get bytes of the budget in time.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        poller: Callable[[], selectors.BaseSelector],
        serve: Callable[[Any], None],
        refuse: Callable[[Any], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poller = poller
        self._serve = serve
        self._refuse = refuse
        self._clock = clock
        self._budget: ReceiveBudget[Any] = ReceiveBudget(_RECEIVE_BYTES)
        self._incoming: dict[Any, _Incoming] = {}

    def receive(self, conn: Any, scan: RequestScan, sent: bytes, missing: int) -> None:
        """Receive the rest of a request.

        Args:
            conn: gunicorn's connection, with our parser. Its parser, or else the kernel, holds what has arrived.
            scan: of the request.
            sent: what has arrived.
            missing: how many bytes are missing at least.
        """
        now = self._clock()
        self._incoming[conn] = _Incoming(scan, now, now)
        self._ask(conn, scan, len(sent) + missing)

    def _ask(self, conn: Any, scan: RequestScan, least_bytes: int) -> None:
        """Ask for the bytes that a request of this size needs."""
        needed = least_bytes if scan.is_body_known else max(least_bytes, self._budget.held(conn) + _HEAD_BYTES)
        if scan.is_chunked:
            needed = max(needed, MAX_BODY_BYTES)
        self._budget.ask(str(conn.client[0]) if conn.client else "", conn, needed - self._budget.held(conn))
        self._give_bytes()

    def _give_bytes(self) -> None:
        while (conn := self._budget.next()) is not None:
            incoming = self._incoming[conn]
            incoming.received_since = incoming.heard_at = self._clock()
            conn.sock.setblocking(False)
            if incoming.scan.expects_continue and not conn.parser.was_continued:
                conn.parser.was_continued = True
                with suppress(OSError):  # the client has left
                    conn.sock.send(_CONTINUE)
            self._poller().register(conn.sock, selectors.EVENT_READ, partial(self._read, conn))

    def _read(self, conn: Any, _socket: socket.socket) -> None:
        """Read what has arrived on a connection."""
        try:
            piece = conn.sock.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._end(conn)  # the parser finds out as well
            return
        buffer = conn.parser.unreader.buf
        buffer.seek(0, 2)
        buffer.write(piece)
        incoming = self._incoming[conn]
        incoming.heard_at = self._clock()
        size = buffer.tell()
        missing = incoming.scan.missing_of(size, buffer.getvalue)
        if not missing:
            self._end(conn)
        elif size + missing > self._budget.held(conn):
            self._poller().unregister(conn.sock)
            incoming.received_since = None
            self._ask(conn, incoming.scan, size + missing)

    def _end(self, conn: Any) -> None:
        """Have a request served that is complete, or whose time is over."""
        incoming = self._incoming.pop(conn)
        if incoming.received_since is None:
            self._budget.withdraw(conn)
        else:
            self._poller().unregister(conn.sock)
        conn.parser.deadline = incoming.began_at + REQUEST_SECONDS
        self._serve(conn)

    def release(self, conn: Any) -> None:
        """Take back the bytes of a request that has a thread now."""
        self._budget.release(conn)
        self._give_bytes()

    def end_late_requests(self, *, crowded: bool) -> None:
        """End what has waited for too long.

        Args:
            crowded: whether others wait for connections.
        """
        now = self._clock()
        crowded = crowded or self._budget.is_short
        for conn, incoming in [*self._incoming.items()]:
            since = incoming.received_since
            if since is None:
                patience = _CROWDED_SECONDS if self._budget.held(conn) else MAX_WAIT_SECONDS
                if now - incoming.heard_at > patience:
                    del self._incoming[conn]
                    self._budget.withdraw(conn)
                    self._refuse(conn)
                continue
            silent, late = now - incoming.heard_at > SILENCE_SECONDS, now - incoming.began_at > REQUEST_SECONDS
            if silent or late or (crowded and now - since > _CROWDED_SECONDS):
                incoming.began_at = -REQUEST_SECONDS  # its deadline is over: the parser waits for no more of it
                self._end(conn)

    @property
    def is_empty(self) -> bool:
        """Whether no request is incomplete."""
        return not self._incoming
