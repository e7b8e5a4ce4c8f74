"""One client connection to the fault proxy, and the upstream connection that carries its requests."""

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
    """The client's connection must be closed: a fault requires it, or the server closed its side."""


@dataclass(frozen=True)
class Server:
    """The API server that a link forwards to.

    Attributes:
        url: `http://` or `https://`, host and port.
        tls: TLS settings; None for plain TCP.
        token: A bearer token that replaces the clients' credentials.
    """

    url: str
    tls: ssl.SSLContext | None
    token: str | None

    def connect(self) -> socket.socket:
        """Open a connection.

        Raises:
            OSError: no connection within `CONNECT_SECONDS`, or the server's certificate is not trusted.
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
        """Return a client's request with this server's Host and Authorization headers."""
        replaced = {b"host"} if self.token is None else {b"host", b"authorization"}
        headers = [(name, value) for name, value in head.headers.raw_items() if name.lower() not in replaced]
        headers.append((b"Host", urlsplit(self.url).netloc.encode()))
        if self.token is not None:
            headers.append((b"Authorization", f"Bearer {self.token}".encode()))
        return h11.Request(method=head.method, target=head.target, headers=headers)


class LinkState:
    """State shared by all links of one proxy; `changed` guards it and the links' own flags."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.silent = False
        self.closing = False


class Link:
    """One client connection. Only the thread that serves it calls its methods; any thread may set its flags.

    Attributes:
        watching: The connection carries a watch at the moment.
        silent: The connection stays open and passes nothing on.
        cut: The connection has been, or is being, dropped.
    """

    def __init__(self, client: socket.socket, server: Server, state: LinkState) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watching = False
        self.silent = False
        self.cut = False
        self._client = client
        self._server = server
        self._state = state
        self._upstream: socket.socket | None = None
        self._inbound = h11.Connection(h11.SERVER)
        self._outbound = h11.Connection(h11.CLIENT)

    def read_request(self) -> tuple[h11.Request, bytes] | None:
        """Return the next request's head and whole body; None when the client has closed the connection."""
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
        """Send the server a request, even if the client has gone."""
        upstream = self._connect()
        events: list[h11.Event] = [self._server.address(head)]
        if body:
            events.append(h11.Data(data=body))
        events.append(h11.EndOfMessage())
        upstream.sendall(b"".join(self._outbound.send(event) or b"" for event in events))

    def response(self) -> Iterator[h11.Response | h11.Data | h11.EndOfMessage]:
        """Yield the server's response as it arrives: head, pieces of the body, end.

        Raises:
            Dropped: the server closed the connection, or the client did after the response began. An earlier close by
                the client is ignored, because the server already has the request.
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
        """Send a part of a response to the client; with a pause, byte by byte.

        Raises:
            Dropped: the connection was cut.
        """
        self.wait_until_open()
        written = self._inbound.send(event) or b""
        if not pause_seconds:
            self._client.sendall(written)
            return
        for byte in written:
            self._client.sendall(bytes([byte]))
            self.wait(pause_seconds)

    def next_exchange(self) -> bool:
        """Prepare for the client's next request; return False when the connection cannot carry another one."""
        if self._outbound.our_state is h11.DONE and self._outbound.their_state is h11.DONE:
            self._outbound.start_next_cycle()
        elif self._outbound.our_state is not h11.IDLE:
            self._close_upstream()
        if self._inbound.our_state is not h11.DONE or self._inbound.their_state is not h11.DONE:
            return False
        self._inbound.start_next_cycle()
        return True

    def relay(self) -> None:
        """Forward bytes in both directions.

        Raises:
            Dropped: either side closed its connection.
        """
        upstream = self._connect()
        routes = {upstream.fileno(): (upstream, self._client), self._client.fileno(): (self._client, upstream)}
        poll = select.poll()
        for descriptor in routes:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                source, target = routes[descriptor]
                piece = source.recv(_PIECE_BYTES)
                self.wait_until_open()
                if not piece:
                    raise Dropped
                target.sendall(piece)

    def wait_until_open(self) -> None:
        """Block while the link is silent.

        Raises:
            Dropped: the connection was cut.
        """
        state = self._state
        with state.changed:
            state.changed.wait_for(lambda: state.closing or self.cut or not (state.silent or self.silent))
            if state.closing or self.cut:
                raise Dropped

    def wait(self, seconds: float) -> None:
        """Block for a time.

        Raises:
            Dropped: the connection was cut meanwhile.
        """
        state = self._state
        with state.changed:
            if state.changed.wait_for(lambda: state.closing or self.cut, seconds):
                raise Dropped

    def shut(self, *, upstream: bool) -> None:
        """Shut down the client's connection, and optionally the server's, and so wake the thread that reads them."""
        shut(self._client)
        if upstream and self._upstream is not None:
            shut(self._upstream)

    def close(self) -> None:
        """Close both connections."""
        self._client.close()
        self._close_upstream()

    def _connect(self) -> socket.socket:
        if self._upstream is not None and _is_readable(self._upstream):
            self._close_upstream()  # the server closed the idle connection
        if self._upstream is None:
            opened = self._server.connect()
            with self._state.changed:
                self._upstream = opened
                if self._state.closing:
                    raise Dropped
        return self._upstream

    def _await_piece(self, upstream: socket.socket) -> None:
        """Wait until the server has sent something or closed its connection."""
        if isinstance(upstream, ssl.SSLSocket) and upstream.pending():
            return
        poll = select.poll()
        poll.register(upstream, select.POLLIN)
        poll.register(self._client, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if self._client.fileno() in ready and not self._client.recv(1, socket.MSG_PEEK):
            raise Dropped

    def _close_upstream(self) -> None:
        with self._state.changed:
            upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        self._outbound = h11.Connection(h11.CLIENT)


def shut(connection: socket.socket) -> None:
    """Shut down a connection or a listener. This wakes a thread that waits for it; closing alone would not."""
    with contextlib.suppress(OSError):  # it is closed already
        # The base class's method: ssl.SSLSocket.shutdown would drop the session while another thread reads from it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
