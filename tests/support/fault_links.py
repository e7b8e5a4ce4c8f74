"""A client's connection to the fault proxy, with the one to the API server that carries its requests."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

CONNECT_SECONDS = 10.0
_PIECE_BYTES = 65536


class Dropped(Exception):
    """The client's connection is to be closed now: a fault says so, or the server closed its own."""


@dataclass(frozen=True)
class Server:
    """What a link forwards to.

    Attributes:
        url: `http://` or `https://`, host and port.
        tls: How to speak TLS with it; None for bytes as they are.
        token: A bearer token put in the place of what clients send.
    """

    url: str
    tls: ssl.SSLContext | None
    token: str | None

    def connect(self) -> socket.socket:
        """Opens a connection.

        Raises:
            OSError: when it can't be had in time, or the server's certificate isn't trusted.
        """
        parts = urlsplit(self.url)
        assert parts.hostname
        connection = socket.create_connection((parts.hostname, parts.port or 0), timeout=CONNECT_SECONDS)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_hostname=parts.hostname)
            connection.settimeout(None)
        except OSError:
            connection.close()
            raise
        return connection

    def address(self, head: h11.Request) -> h11.Request:
        """A client's request with the headers that are for this server."""
        replaced = {b"host"} if self.token is None else {b"host", b"authorization"}
        headers = [(name, value) for name, value in head.headers.raw_items() if name.lower() not in replaced]
        headers.append((b"Host", urlsplit(self.url).netloc.encode()))
        if self.token is not None:
            headers.append((b"Authorization", f"Bearer {self.token}".encode()))
        return h11.Request(method=head.method, target=head.target, headers=headers)


class ConcurrencyLimiter:
    """What the links of one proxy may do at the moment; `changed` guards this and the links' own flags."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.silent = False
        self.closing = False


class Link:
    """One client's connection. Its methods are for the one thread that serves it; its flags are for all.

    Attributes:
        watching: It carries a watch at the moment.
        silent: Nothing passes, and the connection stays open.
        cut: It has been, or is being, dropped.
    """

    def __init__(self, client: socket.socket, server: Server, limiter: ConcurrencyLimiter) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watching = False
        self.silent = False
        self.cut = False
        self._client = client
        self._server = server
        self._limiter = limiter
        self._upstream: socket.socket | None = None
        self._inbound = h11.Connection(h11.SERVER)
        self._outbound = h11.Connection(h11.CLIENT)

    def read_request(self) -> tuple[h11.Request, bytes] | None:
        """Returns the next request's head and whole body; None when the client has closed the connection."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._inbound.next_event()
            if event is h11.NEED_DATA:
                self._inbound.receive_data(self._client.recv(_PIECE_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None

    def forward(self, head: h11.Request, body: bytes) -> None:
        """Sends the server a request, whatever has become of the client."""
        upstream = self._connect()
        events: list[h11.Event] = [self._server.address(head)]
        if body:
            events.append(h11.Data(data=body))
        events.append(h11.EndOfMessage())
        upstream.sendall(b"".join(self._outbound.send(event) or b"" for event in events))

    def answer(self) -> Iterator[h11.Response | h11.Data | h11.EndOfMessage]:
        """Yields the server's answer as it comes: its head, pieces of its body, its end.

        Raises:
            Dropped: when the server closes the connection; and when the client does, once the answer has begun.
                Before that nothing is taken back, for the server has the request.
        """
        assert self._upstream is not None
        begun = False
        while True:
            event = self._outbound.next_event()
            if event is h11.NEED_DATA:
                if begun:
                    self._await_piece(self._upstream)
                self._outbound.receive_data(self._upstream.recv(_PIECE_BYTES))
            elif isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                begun = True
                yield event
                if isinstance(event, h11.EndOfMessage):
                    return
            elif not isinstance(event, h11.InformationalResponse):
                raise Dropped

    def send(self, event: h11.Event, *, pause_seconds: float = 0.0) -> None:
        """Passes a part of an answer to the client; with a pause, byte by byte.

        Raises:
            Dropped: when the connection is cut.
        """
        self.pass_gate()
        written = self._inbound.send(event) or b""
        if not pause_seconds:
            self._client.sendall(written)
            return
        for byte in written:
            self._client.sendall(bytes([byte]))
            self.wait(pause_seconds)

    def next_exchange(self) -> bool:
        """Gets ready for the client's next request; False when its connection can't carry another."""
        if self._outbound.our_state is h11.DONE and self._outbound.their_state is h11.DONE:
            self._outbound.start_next_cycle()
        elif self._outbound.our_state is not h11.IDLE:
            self._hang_up()
        if self._inbound.our_state is not h11.DONE or self._inbound.their_state is not h11.DONE:
            return False
        self._inbound.start_next_cycle()
        return True

    def relay(self) -> None:
        """Passes bytes both ways.

        Raises:
            Dropped: when a side ends.
        """
        upstream = self._connect()
        ways = {upstream.fileno(): (upstream, self._client), self._client.fileno(): (self._client, upstream)}
        poll = select.poll()
        for descriptor in ways:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                source, target = ways[descriptor]
                piece = source.recv(_PIECE_BYTES)
                self.pass_gate()
                if not piece:
                    raise Dropped
                target.sendall(piece)

    def pass_gate(self) -> None:
        """Blocks while nothing may pass.

        Raises:
            Dropped: when the connection is cut.
        """
        limiter = self._limiter
        with limiter.changed:
            limiter.changed.wait_for(lambda: limiter.closing or self.cut or not (limiter.silent or self.silent))
            if limiter.closing or self.cut:
                raise Dropped

    def wait(self, seconds: float) -> None:
        """Blocks for a time.

        Raises:
            Dropped: when the connection is cut meanwhile.
        """
        limiter = self._limiter
        with limiter.changed:
            if limiter.changed.wait_for(lambda: limiter.closing or self.cut, seconds):
                raise Dropped

    def shut(self, *, upstream: bool) -> None:
        """Ends the client's connection, and the server's if told, under the thread that reads them."""
        shut(self._client)
        if upstream and self._upstream is not None:
            shut(self._upstream)

    def close(self) -> None:
        """Closes both connections."""
        self._client.close()
        self._hang_up()

    def _connect(self) -> socket.socket:
        if self._upstream is not None and _readable(self._upstream):
            self._hang_up()  # the server closed the idle connection
        if self._upstream is None:
            opened = self._server.connect()
            with self._limiter.changed:
                self._upstream = opened
                if self._limiter.closing:
                    raise Dropped
        return self._upstream

    def _await_piece(self, upstream: socket.socket) -> None:
        """Returns once the server has sent something or closed."""
        if isinstance(upstream, ssl.SSLSocket) and upstream.pending():
            return
        poll = select.poll()
        poll.register(upstream, select.POLLIN)
        poll.register(self._client, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if self._client.fileno() in ready and not self._client.recv(1, socket.MSG_PEEK):
            raise Dropped

    def _hang_up(self) -> None:
        with self._limiter.changed:
            upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        self._outbound = h11.Connection(h11.CLIENT)


def shut(connection: socket.socket) -> None:
    """Ends a connection, or a listener, under a thread that waits for it; closing alone would not wake that."""
    with contextlib.suppress(OSError):  # it has ended by itself
        # The base class's: ssl.SSLSocket.shutdown would take the session from under the thread that reads it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
