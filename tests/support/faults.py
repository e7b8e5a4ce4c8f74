"""A proxy on loopback that injects network and API server faults on demand.

It sits between a client and any API server and speaks HTTP/1.1 with both, with TLS towards the server if the server's
URL is `https`::

    with FaultProxy(server_url, ca=ca_file) as proxy:
        lost = proxy.add(Fault(LoseResponse(), method="POST", path=r"/jobs$"))
        ...  # a client of proxy.url
        assert proxy.hits(lost) == 1

Watch events are passed on as they arrive. Client and proxy speak plain HTTP, so the client's own credentials work
unchanged. With `passthrough` the client's TLS session reaches the server untouched, and only connection faults are
possible (cut, silence, refuse). Protocol upgrades (exec, port-forward) are not supported.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import h11

from tests.support.fault_links import CONNECT_SECONDS, Dropped, Link, LinkState, Server, shut
from tests.support.fault_rules import (
    Action,
    Call,
    Delay,
    Fault,
    GoSilent,
    Hold,
    LoseRequest,
    LoseResponse,
    Refuse,
    Request,
    Rule,
    Trickle,
    Truncate,
)
from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS

__all__ = [
    "Action",
    "Call",
    "Delay",
    "Fault",
    "FaultProxy",
    "GoSilent",
    "Hold",
    "LoseRequest",
    "LoseResponse",
    "Refuse",
    "Request",
    "Trickle",
    "Truncate",
]


class FaultProxy:
    """Forwards requests to one API server and injects faults; a context manager.

    Methods may be called from any thread. Real faults are not hidden: when the server cannot be reached or drops a
    connection, the proxy drops the client's connection.
    """

    def __init__(
        self, server_url: str, *, ca: Path | None = None, token: str | None = None, passthrough: bool = False
    ) -> None:
        """Configure the proxy; it opens nothing before the context is entered.

        Args:
            server_url: `http://` or `https://`, host and port.
            ca: The certificates that an `https` server is verified against; None for the system's.
            token: A bearer token that replaces the clients' credentials.
            passthrough: Forward bytes instead of requests; the client verifies the server's own certificate.
        """
        scheme = urlsplit(server_url).scheme
        speaks_tls = scheme == "https" and not passthrough
        self._server = Server(server_url, ssl.create_default_context(cafile=ca) if speaks_tls else None, token)
        self._scheme = scheme if passthrough else "http"
        self._passthrough = passthrough
        self._state = LinkState()
        self._changed = self._state.changed
        self._rules: list[Rule] = []
        self._requests: list[Request] = []
        self._links: set[Link] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = find_free_port()

    def __enter__(self) -> FaultProxy:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse_connections()
        with self._changed:
            self._state.closing = True
            for rule in self._rules:
                if isinstance(rule.fault.action, Hold):
                    rule.fault.action.abandon()
            for link in self._links:
                link.shut(upstream=True)
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(CONNECT_SECONDS)
            if thread.is_alive():
                raise RuntimeError(f"thread {thread.name} did not end within {CONNECT_SECONDS} s")

    @property
    def url(self) -> str:
        """The URL for clients, which stays the same for the proxy's whole life."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """Every request read so far, in order of arrival, with its current state."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """The number of open client connections."""
        with self._changed:
            return len(self._links)

    @property
    def watches(self) -> int:
        """The number of client connections that carry a watch at the moment."""
        with self._changed:
            return sum(link.watching for link in self._links)

    def wait_for(
        self, wanted: Callable[[Request], bool], *, count: int = 1, timeout_seconds: float = DEADLINE_SECONDS
    ) -> list[Request]:
        """Wait for at least `count` requests that satisfy `wanted`, and return them.

        Raises:
            TimeoutError: fewer requests came before the timeout.
        """
        found: list[Request] = []

        def enough() -> bool:
            found[:] = filter(wanted, self._requests)
            return len(found) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout_seconds):
                raise TimeoutError(f"{len(found)} of {count} requests seen after {timeout_seconds} s")
        return found

    def add(self, fault: Fault) -> Fault:
        """Add a fault after the existing ones, and return it."""
        if self._passthrough:
            raise ValueError("passthrough forwards bytes, not requests: only connection faults are possible")
        with self._changed:
            self._rules.append(Rule(fault))
        return fault

    def remove(self, fault: Fault) -> None:
        """Remove a fault, and release the requests that it holds."""
        with self._changed:
            self._rules = [rule for rule in self._rules if rule.fault is not fault]
        if isinstance(fault.action, Hold):
            fault.action.release()

    def hits(self, fault: Fault) -> int:
        """Return how many requests the fault was applied to; works after its removal, too."""
        with self._changed:
            return sum(request.fault is fault for request in self._requests)

    def cut_all(self) -> None:
        """Drop every connection; the server still processes what it has been sent already."""
        self._cut(lambda link: True)

    def cut_watches(self) -> None:
        """Drop the connections that carry a watch."""
        self._cut(lambda link: link.watching)

    def silence(self, *, watches_only: bool = False) -> None:
        """Keep connections open and pass nothing on, in either direction, until `end_silence` or `heal`.

        Args:
            watches_only: Silence only the connections that carry a watch now; otherwise all, new ones included.
        """
        with self._changed:
            if not watches_only:
                self._state.silent = True
            for link in self._links:
                link.silent |= link.watching

    def end_silence(self) -> None:
        """Deliver what silent connections held back, and pass on what follows."""
        with self._changed:
            self._state.silent = False
            for link in self._links:
                link.silent = False
            self._changed.notify_all()

    def refuse_connections(self) -> None:
        """Refuse new connections, as if no server were running; open ones stay."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            shut(listener)
            listener.close()

    def heal(self) -> None:
        """Remove all faults, deliver everything held back, and accept connections again."""
        with self._changed:
            faults = [rule.fault for rule in self._rules]
        self.end_silence()
        for fault in faults:
            self.remove(fault)
        if self._listener is None:
            self._listen()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._listener = listener
        self._start(lambda: self._accept(listener), "fault-proxy-accept")

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._changed:
            self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]
            thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed by refuse_connections
            self._open(Link(client, self._server, self._state))

    def _open(self, link: Link) -> None:
        with self._changed:
            self._links.add(link)
            if self._state.closing:
                link.shut(upstream=False)
        self._start(lambda: self._serve(link), "fault-proxy-link")

    def _serve(self, link: Link) -> None:
        try:
            if self._passthrough:
                link.relay()
            while self._exchange(link):
                pass
        except (OSError, h11.ProtocolError, Dropped):
            pass  # either side closed, or a fault closes: the client's connection ends
        finally:
            with contextlib.suppress(Dropped):
                link.wait_until_open()  # a silent link does not pass on the end of the connection either
            with self._changed:
                self._links.discard(link)
            link.close()

    def _exchange(self, link: Link) -> bool:
        """Serve one request; return False when the connection ends with it."""
        read = link.read_request()
        if read is None:
            return False
        head, body = read
        link.wait_until_open()
        index, action = self._record(link, head, body)
        try:
            if isinstance(action, Refuse):
                self._update(index, status=action.status)
                for event in action.response():
                    link.send(event)
            else:
                _inject_before_request(link, action)
                link.forward(head, body)
                self._update(index, forwarded=True)
                self._pass_response(link, action, index)
        finally:
            with self._changed:
                link.watching = False
            self._update(index, finished=time.monotonic())
        return link.next_exchange()

    def _record(self, link: Link, head: h11.Request, body: bytes) -> tuple[int, Action | None]:
        path, _, query = head.target.decode("ascii").partition("?")
        request = Request(head.method.decode("ascii"), path, query, body, started=time.monotonic())
        with self._changed:
            link.watching = request.watching
            # Every rule up to the first that applies counts the request.
            fault = next((rule.fault for rule in self._rules if rule.count(request)), None)
            self._requests.append(replace(request, fault=fault))
            self._changed.notify_all()
            return len(self._requests) - 1, fault.action if fault else None

    def _update(self, index: int, **fields: Any) -> None:
        with self._changed:
            self._requests[index] = replace(self._requests[index], **fields)
            self._changed.notify_all()

    def _pass_response(self, link: Link, action: Action | None, index: int) -> None:
        left = action.body_bytes if isinstance(action, Truncate) else None
        for event in link.response():
            if isinstance(event, h11.Response):
                self._update(index, status=event.status_code)
                _inject_before_response(link, action)
            if isinstance(action, LoseResponse):
                continue
            if left is not None and isinstance(event, h11.Data):
                piece = bytes(event.data)[:left]
                left -= len(piece)
                link.send(h11.Data(data=piece))
            elif isinstance(action, Trickle) and (action.head or not isinstance(event, h11.Response)):
                link.send(event, pause_seconds=action.pause_seconds)
            else:
                link.send(event)
            if left == 0:
                raise Dropped
        if isinstance(action, LoseResponse):
            raise Dropped

    def _cut(self, chosen: Callable[[Link], bool]) -> None:
        with self._changed:
            for link in filter(chosen, self._links):
                link.cut = True
                link.shut(upstream=self._passthrough)
            self._changed.notify_all()


def _inject_before_request(link: Link, action: Action | None) -> None:
    match action:
        case LoseRequest():
            raise Dropped
        case Delay(before_seconds=seconds):
            link.wait(seconds)
        case GoSilent(forward=False):
            link.silent = True
            link.wait_until_open()
        case Hold() if not action.wait_released():
            raise Dropped


def _inject_before_response(link: Link, action: Action | None) -> None:
    match action:
        case Delay(after_seconds=seconds):
            link.wait(seconds)
        case GoSilent(forward=True):
            link.silent = True
            link.wait_until_open()
        case Call():
            action.act()
