"""`app.server.gunicorn_parser`: how much of a request is read before the application asks for it."""

import socket
import time
from contextlib import suppress

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped] # it has no annotations
from gunicorn.http.errors import LimitRequestHeaders  # type: ignore[import-untyped]

from app.server.gunicorn_parser import Parser

_KIB = 1024
_MAX_READ = 128 * _KIB
"""Twice the largest body."""


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked\r\n\r\n1000000", f"Content-Length: {1 << 24}\r\n"])
def test_parser__leaves_a_large_body_in_the_socket(framing: str) -> None:
    """Else the bodies of many requests at the same time would fill the memory."""
    client, service = socket.socketpair()
    with client, service:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MAX_READ)
        client.setblocking(False)
        client.sendall(f"POST / HTTP/1.1\r\n{framing}\r\n".encode())
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += client.send(b"x" * _KIB)
        assert sent > _MAX_READ

        request = next(Parser(Config(), service, ("127.0.0.1", 1)))
        assert len(request.body.read(16 * _KIB)) == 16 * _KIB

        service.setblocking(False)
        left = 0
        with suppress(BlockingIOError):
            while True:
                left += len(service.recv(_MAX_READ))
        assert sent - left <= _MAX_READ


@pytest.mark.parametrize("read", [3, 0])
def test_finish_body__skips_what_the_application_has_not_read(read: int) -> None:
    """The next request on the connection follows, and the socket keeps its timeout."""
    client, service = socket.socketpair()
    with client, service:
        service.settimeout(7.0)
        client.sendall(b"POST /first HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /second HTTP/1.1\r\n\r\n")
        parser = Parser(Config(), service, ("127.0.0.1", 1))
        request = next(parser)
        assert request.body.read(read) == b"abc"[:read]
        assert parser.finish_body(deadline=time.monotonic() + 60)
        assert service.gettimeout() == 7.0
        assert next(parser).path == "/second"


def test_parser__refuses_a_head_that_is_too_long__though_all_of_it_has_arrived() -> None:
    """Gunicorn compares the size only while the end is missing."""
    client, service = socket.socketpair()
    with client, service:
        parser = Parser(Config(), service, ("127.0.0.1", 1))
        parser.unreader.unread(b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 5 + b"\r\n")
        with pytest.raises(LimitRequestHeaders):
            next(parser)
