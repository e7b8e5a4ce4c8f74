"""`app.server.gunicorn_worker`: what is read before a request has a thread, and how a response is sent."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from app.server.gunicorn_worker import ResponseSocket, Worker
from app.server.request_lanes import MAX_READ_AHEAD_BYTES

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[ResponseSocket, socket.socket]]:
    """Provide the service's and the client's end of a connection."""
    client, service = socket.socketpair()
    with client, service:
        client.setblocking(False)
        yield ResponseSocket(service), client


def read(client: socket.socket) -> bytes:
    """Return what has arrived."""
    try:
        return client.recv(65536)
    except BlockingIOError:
        return b""


def test_response_socket__sends_head_and_body_together(ends: tuple[ResponseSocket, socket.socket]) -> None:
    response, client = ends
    response.sendall(HEAD)
    assert read(client) == b""
    response.sendall(b"bo")
    assert read(client) == HEAD + b"bo"
    response.sendall(HEAD)  # a body may look like a head
    assert read(client) == HEAD


def test_response_socket__sends_the_head_of_a_stream_at_once(ends: tuple[ResponseSocket, socket.socket]) -> None:
    """The client of a log that is followed learns that it has begun."""
    response, client = ends
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    response.sendall(head)
    assert read(client) == head
    response.sendall(b"23\r\n\r\nContent-Length: 4\r\n\r\n")
    assert read(client) == b"23\r\n\r\nContent-Length: 4\r\n\r\n"


def test_response_socket__sends_a_head_without_a_body_when_flushed(ends: tuple[ResponseSocket, socket.socket]) -> None:
    response, client = ends
    response.sendall(HEAD)
    response.flush()
    response.flush()
    assert read(client) == HEAD


@pytest.mark.parametrize(("waiting_bytes", "stays"), [(MAX_READ_AHEAD_BYTES - 1, False), (MAX_READ_AHEAD_BYTES, True)])
def test_worker__leaves_requests_to_the_kernel_when_others_hold_much(
    ends: tuple[ResponseSocket, socket.socket], waiting_bytes: int, *, stays: bool
) -> None:
    """The connection has no parser then, and a thread reads all of it later."""
    service, client = ends
    client.sendall(HEAD)
    conn: Any = SimpleNamespace(sock=service.connection, parser=None, is_http2=False, client=("::1", 1), cfg=Config())
    worker: Any = SimpleNamespace(_ahead_bytes=waiting_bytes)
    assert Worker._read_ahead(worker, conn) == HEAD
    assert (conn.parser is None) is stays
    if stays:
        assert service.connection.recv(4096) == HEAD
    else:
        assert conn.parser.unreader.buf.getvalue() == HEAD
        assert Worker._read_ahead(worker, conn) == HEAD
