"""What is taken in of a request before anybody asks for it."""

import socket
from contextlib import suppress

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped] # it has no annotations

from app.server.gunicorn_parser import Parser

_LITTLE = 1024
_MOST = 128 * _LITTLE
"""Twice what a body may have."""


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked\r\n\r\n1000000", f"Content-Length: {1 << 24}\r\n"])
def test_a_large_body_is_left_to_the_kernel(framing: str) -> None:
    """However much of it is there: what one client sends is small, what all send together is not."""
    client, service = socket.socketpair()
    with client, service:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MOST)
        client.setblocking(False)
        client.sendall(f"POST / HTTP/1.1\r\n{framing}\r\n".encode())
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += client.send(b"x" * _LITTLE)
        assert sent > _MOST

        request = next(Parser(Config(), service, ("127.0.0.1", 1)))
        assert len(request.body.read(16 * _LITTLE)) == 16 * _LITTLE

        service.setblocking(False)
        left = 0
        with suppress(BlockingIOError):
            while True:
                left += len(service.recv(_MOST))
        assert sent - left <= _MOST
