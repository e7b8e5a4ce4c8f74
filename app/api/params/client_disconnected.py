"""Clients that leave before they are answered."""

import select
import socket
import sys
from collections.abc import Callable

from flask import Request

# Linux tells that the other side has closed its connection whatever it has sent before; elsewhere nothing tells it
# before the next write.
_LEFT = select.POLLHUP | select.POLLERR | (select.POLLRDHUP if sys.platform == "linux" else 0)


def client_disconnected(request: Request) -> Callable[[], bool]:
    """What says, from any thread, whether the client of a request has left.

    A client that only ends its own side of the connection has left, too: nobody can tell one from the other.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def look() -> bool:
        if connection is None:  # not under gunicorn
            return False
        poll = select.poll()
        try:
            poll.register(connection, _LEFT)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # it is closed: the request has just been answered
            return True

    return look
