"""What becomes of requests that arrive slowly, with a clock that the tests hold."""

import selectors
import socket
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest

from app.server.request_intake import RequestIntake
from app.server.request_scan import RequestScan
from tests.support.clock import Clock

HEAD = b"GET /health HTTP/1.1\r\nA: "
PIECE = 8 * 1024
BUDGET = 512 * 1024


class Connection:
    """gunicorn's connection, as far as the intake uses it, and its client."""

    def __init__(self, address: str) -> None:
        self.sock, self.far_end = socket.socketpair()
        self.client = (address, 1)
        unreader = SimpleNamespace(buf=BytesIO())
        self.parser: Any = SimpleNamespace(unreader=unreader, was_continued=False, deadline=None)


class Door:
    """An intake, and what has become of its connections."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.served: list[Connection] = []
        self.refused: list[Connection] = []
        self.connections: list[Connection] = []
        self.selector = selectors.DefaultSelector()
        self.intake = RequestIntake(lambda: self.selector, self.served.append, self._refuse, clock=clock)

    def _refuse(self, conn: Connection) -> None:
        self.refused.append(conn)
        self.intake.release(conn)  # as soon as it has a thread

    def receive(self, address: str, sent: bytes) -> Connection:
        """Receive a request of which this has arrived."""
        conn = Connection(address)
        self.connections.append(conn)
        conn.parser.unreader.buf.write(sent)
        scan = RequestScan()
        self.intake.receive(conn, scan, sent, scan.missing(sent))
        return conn

    def send(self, conn: Connection, data: bytes) -> None:
        """Have a client send something, which is read as far as its connection is."""
        conn.far_end.sendall(data)
        for key, _ in self.selector.select(0):
            key.data(key.fileobj)

    def is_read(self, conn: Connection) -> bool:
        """Whether the request has its bytes of the budget."""
        return conn.sock in [key.fileobj for key in self.selector.get_map().values()]

    def wait(self, seconds: float) -> None:
        """Let time pass, in which the loop looks after late requests again and again."""
        for _ in range(int(seconds * 10)):
            self.clock.now += 0.1
            self.intake.end_late_requests(crowded=False)


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door(Clock())
    yield door
    door.selector.close()
    for conn in door.connections:
        conn.sock.close()
        conn.far_end.close()


def hold_all(door: Door) -> list[Connection]:
    """Have clients hold the whole budget with heads that have no end, each in need of more."""
    holders = [door.receive("attacker", HEAD) for _ in range(BUDGET // PIECE)]
    for conn in holders:
        assert door.is_read(conn)
        door.send(conn, b"a" * (PIECE - len(HEAD)))
        assert not door.is_read(conn)
    return holders


def test_requests_that_hold_all_and_wait_for_more__delay_another_one_by_no_more_than_a_crowd(door: Door) -> None:
    holders = hold_all(door)
    large = door.receive("caller", b"POST /job/a HTTP/1.1\r\nContent-Length: 60000\r\n\r\n")
    assert not door.is_read(large)
    door.wait(1.2)
    assert door.is_read(large)
    door.send(large, b" " * 60000)
    while door.is_read(large):
        door.send(large, b"")
    assert large in door.served
    assert set(door.refused) <= set(holders)


def test_request_that_holds_nothing__waits_for_longer(door: Door) -> None:
    """What has arrived of it stays in the kernel, so it delays nobody."""
    body = b"POST /job/a HTTP/1.1\r\nContent-Length: 65000\r\n\r\n"
    complete = [door.receive(f"caller {number}", body) for number in range(BUDGET // 65000)]
    for conn in complete:
        door.send(conn, b" " * 65000)
        while door.is_read(conn):
            door.send(conn, b"")
    assert door.served == complete  # they wait for threads, and hold the budget
    late = door.receive("late", body)
    door.wait(9)
    assert not door.is_read(late)
    assert door.refused == []
    door.wait(2)
    assert door.refused == [late]


def test_large_head__is_received_while_nobody_else_needs_the_bytes(door: Door) -> None:
    conn = door.receive("caller", HEAD)
    for _ in range(3):
        door.send(conn, b"a" * PIECE)
        door.wait(3)
    door.send(conn, b"\r\n\r\n")
    assert door.served == [conn]
