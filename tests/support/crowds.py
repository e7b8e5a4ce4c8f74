"""Crowds of callers that do their worst, alone or all at once."""

import itertools
import json
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import requests

from tests.support.open_files import allow_open_files
from tests.support.waiting import DEADLINE_SECONDS

CONNECTIONS = 1050
"""More than the service accepts."""

_UNFINISHED = b"POST /job/public HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n" + b"a" * 64_999
"""A request whose last byte is missing."""

FAULTY_BODY = json.dumps({f"k{number}": 1 for number in range(5400)})
"""A body with as many unknown fields as there is room for."""

assert 60_000 < len(FAULTY_BODY) < 64 * 1024


class Target(Protocol):
    """The service, which has a definition `public`."""

    url: str
    port: int


def run_crowd(
    callers: int, call: Callable[[requests.Session], None], *, times: int = 1, until: threading.Event | None = None
) -> None:
    """Have so many callers make their calls at once, each over a connection of its own.

    Args:
        callers: how many.
        call: makes the calls of one round.
        times: how many rounds each caller makes.
        until: further rounds are made until this is set; `None`: no further ones.
    """

    def repeat(_: int) -> None:
        with requests.Session() as session:
            for number in itertools.count(1):
                call(session)
                if number >= times and (until is None or until.is_set()):
                    return

    with ThreadPoolExecutor(callers) as crowd:
        list(crowd.map(repeat, range(callers)))


def post_all(service: Target, bodies: list[dict[str, Any]]) -> Counter[int]:
    """Start runs over 16 connections; returns how many responses had each status."""
    local = threading.local()

    def post(body: dict[str, Any]) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        url = f"{service.url}/job/public"
        return int(local.session.post(url, data=json.dumps(body), timeout=DEADLINE_SECONDS).status_code)

    with ThreadPoolExecutor(16) as callers:
        return Counter(callers.map(post, bodies))


def send_faulty_bodies(service: Target) -> Callable[[requests.Session], None]:
    """Return a round of a caller whose body has thousands of faults."""

    def call(session: requests.Session) -> None:
        response = session.post(f"{service.url}/job/public?dryRun=true", data=FAULTY_BODY, timeout=DEADLINE_SECONDS)
        assert response.status_code in (422, 503)

    return call


def store_and_read_large_runs(service: Target) -> Callable[[requests.Session], None]:
    """Return a round of a caller that stores, tries out, reads and lists runs of 64 to 96 KB.

    Half of them grow when they are stored, because `$` is written twice.
    """
    sizes = itertools.cycle([64_900, 48_000])

    def call(session: requests.Session) -> None:
        size = next(sizes)
        body = json.dumps({"Args": [("$" if size < 50_000 else "a") * size]})
        stored = session.post(f"{service.url}/job/public", data=body, timeout=DEADLINE_SECONDS)
        assert stored.status_code in (202, 503)
        paths = [f"/job/public?limit={50 + size % 7}", stored.headers.get("Location", "/job/public")]
        seen = [session.get(service.url + path, timeout=DEADLINE_SECONDS).status_code for path in paths]
        tried = session.post(f"{service.url}/job/public?dryRun=true", data=body, timeout=DEADLINE_SECONDS)
        assert {*seen, tried.status_code} <= {200, 503}

    return call


def send_small_bodies(service: Target) -> Callable[[requests.Session], None]:
    """Return a round of a caller that starts a small run."""

    def call(session: requests.Session) -> None:
        response = session.post(f"{service.url}/job/public", data='{"Args": ["42"]}', timeout=DEADLINE_SECONDS)
        assert response.status_code == 202

    return call


@contextmanager
def unfinished_bodies(service: Target, connections: int = CONNECTIONS) -> Iterator[threading.Event]:
    """Hold so many connections, each with a body that lacks its last byte; connect anew when the service closes one.

    Yields:
        An event that is set as soon as half of the connections have sent more than a head.
    """
    allow_open_files(connections + 300)
    stop, sent = threading.Event(), threading.Event()
    thread = threading.Thread(target=_hold, args=(service, connections, stop, sent))
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def _hold(service: Target, connections: int, stop: threading.Event, sent: threading.Event) -> None:
    left: dict[socket.socket, int] = {}
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        stack.callback(_close_all, left)
        while not stop.is_set():
            while len(left) < connections:
                client = socket.socket()
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.connect(("127.0.0.1", service.port))
                left[client] = len(_UNFINISHED)
                selector.register(client, selectors.EVENT_WRITE | selectors.EVENT_READ)
            for key, events in selector.select(0.2):
                client = key.fileobj  # type: ignore[assignment] # it is one of ours
                try:
                    if events & selectors.EVENT_READ and not client.recv(4096):
                        raise ConnectionResetError
                    if events & selectors.EVENT_WRITE:
                        left[client] -= client.send(_UNFINISHED[-left[client] :][:4096])
                        if not left[client]:
                            selector.modify(client, selectors.EVENT_READ)
                except BlockingIOError:
                    pass
                except OSError:
                    selector.unregister(client)
                    client.close()
                    del left[client]
            if sum(rest < 64_000 for rest in left.values()) >= connections // 2:
                sent.set()


def _close_all(clients: dict[socket.socket, int]) -> None:
    for client in clients:
        client.close()
