"""`app.server.gunicorn_parser`: how much of a request is read before the application asks for it."""

import socket
from contextlib import suppress

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped] # it has no annotations

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
