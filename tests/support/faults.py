"""A proxy on loopback that makes the faults of a network, and of an API server, on demand.

It stands between a client and any API server and speaks HTTP/1.1 with both, TLS towards the server where its
URL says so::

    with FaultProxy(server_url, ca=ca_file) as proxy:
        lost = proxy.add(Fault(LoseAnswer(), method="POST", path=r"/jobs$"))
        ...  # a client of proxy.url
        assert proxy.strikes(lost) == 1

Watches are passed on piece by piece as they come. Requests go in the clear between client and proxy, so the
client's own credentials work unchanged; with `passthrough` the client's TLS session reaches the server untouched,
and only the faults of connections can be made (cut, silence, refuse). Upgrades (exec, port-forward) don't work.
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

from tests.support.fault_links import CONNECT_SECONDS, ConcurrencyLimiter, Dropped, Link, Server, shut
from tests.support.fault_rules import (
    Action,
    Delay,
    Fault,
    GoSilent,
    Hold,
    LoseAnswer,
    LoseRequest,
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
    "Delay",
    "Fault",
    "FaultProxy",
    "GoSilent",
    "Hold",
    "LoseAnswer",
    "LoseRequest",
    "Refuse",
    "Request",
    "Trickle",
    "Truncate",
]


class FaultProxy:
    """Passes requests on to one API server, and makes the faults it is told to; a context manager.

    Methods may be called from any thread. Faults that nobody asked for aren't hidden: when the server can't be
    reached, or drops a connection, so does the proxy.
    """

    def __init__(
        self, server_url: str, *, ca: Path | None = None, token: str | None = None, passthrough: bool = False
    ) -> None:
        """Takes where to forward to; nothing is opened before the context is entered.

        Args:
            server_url: `http://` or `https://`, host and port.
            ca: The certificates that an `https` server is verified against; None for the system's.
            token: A bearer token put in the place of what clients send.
            passthrough: Forward bytes, not requests; the client verifies the server's own certificate.
        """
        scheme = urlsplit(server_url).scheme
        speaks_tls = scheme == "https" and not passthrough
        self._server = Server(server_url, ssl.create_default_context(cafile=ca) if speaks_tls else None, token)
        self._scheme = scheme if passthrough else "http"
        self._passthrough = passthrough
        self._limiter = ConcurrencyLimiter()
        self._changed = self._limiter.changed
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
            self._limiter.closing = True
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
                raise RuntimeError(f"the thread {thread.name} doesn't end")

    @property
    def url(self) -> str:
        """Where clients connect to; the same for the proxy's whole life."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """Every request read so far, in the order they came, as they stand now."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many clients' connections are open."""
        with self._changed:
            return len(self._links)

    @property
    def watches(self) -> int:
        """How many of them carry a watch at the moment."""
        with self._changed:
            return sum(link.watching for link in self._links)

    def wait_for(
        self, wanted: Callable[[Request], bool], *, count: int = 1, timeout_seconds: float = DEADLINE_SECONDS
    ) -> list[Request]:
        """Returns the requests that satisfy `wanted` once there are at least `count` of them.

        Raises:
            TimeoutError: when there aren't in time.
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
        """Makes a fault from now on, after those already there; returns it."""
        if self._passthrough:
            raise ValueError("faults of requests can't be made in bytes that are passed through")
        with self._changed:
            self._rules.append(Rule(fault))
        return fault

    def remove(self, fault: Fault) -> None:
        """Stops making a fault, and releases what it holds."""
        with self._changed:
            self._rules = [rule for rule in self._rules if rule.fault is not fault]
        if isinstance(fault.action, Hold):
            fault.action.release()

    def strikes(self, fault: Fault) -> int:
        """How many requests have met the fault, also since it was removed."""
        with self._changed:
            return sum(request.fault is fault for request in self._requests)

    def cut_all(self) -> None:
        """Drops every connection; what the server has been sent already isn't taken back."""
        self._cut(lambda link: True)

    def cut_watches(self) -> None:
        """Drops the connections that carry a watch."""
        self._cut(lambda link: link.watching)

    def silence(self, *, watches_only: bool = False) -> None:
        """Keeps connections open and passes nothing on, either way, until `heal` lets it through.

        Args:
            watches_only: Only the connections that carry a watch at this moment; else all, new ones too.
        """
        with self._changed:
            if not watches_only:
                self._limiter.silent = True
            for link in self._links:
                link.silent |= link.watching

    def end_silence(self) -> None:
        """Passes what silent connections have kept back, and what follows."""
        with self._changed:
            self._limiter.silent = False
            for link in self._links:
                link.silent = False
            self._changed.notify_all()

    def refuse_connections(self) -> None:
        """Refuses new connections, as where no server runs; those that are open stay."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener is not None:
            shut(listener)
            listener.close()

    def heal(self) -> None:
        """Ends every fault: rules go, what was held or kept back passes, connections are accepted."""
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
                return  # refuse_connections
            self._open(Link(client, self._server, self._limiter))

    def _open(self, link: Link) -> None:
        with self._changed:
            self._links.add(link)
            if self._limiter.closing:
                link.shut(upstream=False)
        self._start(lambda: self._serve(link), "fault-proxy-link")

    def _serve(self, link: Link) -> None:
        try:
            if self._passthrough:
                link.relay()
            while self._exchange(link):
                pass
        except (OSError, h11.ProtocolError, Dropped):
            pass  # either side went away, or a fault says so: the client sees its connection end
        finally:
            with contextlib.suppress(Dropped):
                link.pass_gate()  # where nothing passes, neither does the end of the connection
            with self._changed:
                self._links.discard(link)
            link.close()

    def _exchange(self, link: Link) -> bool:
        """Takes one request to its end; False when the connection ends with it."""
        asked = link.read_request()
        if asked is None:
            return False
        head, body = asked
        link.pass_gate()
        place, action = self._record(link, head, body)
        try:
            if isinstance(action, Refuse):
                self._update(place, status=action.status)
                for event in action.answer():
                    link.send(event)
            else:
                _strike_before(link, action)
                link.forward(head, body)
                self._update(place, forwarded=True)
                self._pass_answer(link, action, place)
        finally:
            with self._changed:
                link.watching = False
            self._update(place, finished=time.monotonic())
        return link.next_exchange()

    def _record(self, link: Link, head: h11.Request, body: bytes) -> tuple[int, Action | None]:
        path, _, query = head.target.decode("ascii").partition("?")
        request = Request(head.method.decode("ascii"), path, query, body, started=time.monotonic())
        with self._changed:
            link.watching = request.watching
            # Each rule up to the one that strikes counts the request.
            fault = next((rule.fault for rule in self._rules if rule.strikes(request)), None)
            self._requests.append(replace(request, fault=fault))
            self._changed.notify_all()
            return len(self._requests) - 1, fault.action if fault else None

    def _update(self, place: int, **fields: Any) -> None:
        with self._changed:
            self._requests[place] = replace(self._requests[place], **fields)
            self._changed.notify_all()

    def _pass_answer(self, link: Link, action: Action | None, place: int) -> None:
        left = action.body_bytes if isinstance(action, Truncate) else None
        for event in link.answer():
            if isinstance(event, h11.Response):
                self._update(place, status=event.status_code)
                _strike_after(link, action)
            if isinstance(action, LoseAnswer):
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
        if isinstance(action, LoseAnswer):
            raise Dropped

    def _cut(self, chosen: Callable[[Link], bool]) -> None:
        with self._changed:
            for link in filter(chosen, self._links):
                link.cut = True
                link.shut(upstream=self._passthrough)
            self._changed.notify_all()


def _strike_before(link: Link, action: Action | None) -> None:
    match action:
        case LoseRequest():
            raise Dropped
        case Delay(before_seconds=seconds):
            link.wait(seconds)
        case GoSilent(forward=False):
            link.silent = True
            link.pass_gate()
        case Hold() if not action.keep():
            raise Dropped


def _strike_after(link: Link, action: Action | None) -> None:
    match action:
        case Delay(after_seconds=seconds):
            link.wait(seconds)
        case GoSilent(forward=True):
            link.silent = True
            link.pass_gate()
