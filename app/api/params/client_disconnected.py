"""Detects clients that disconnect before they get their response."""

import select
import socket
import sys
from collections.abc import Callable

from flask import Request

# Linux reports that the peer has closed its side even if data is unread. Other systems report it on the next write.
_DISCONNECTED = select.POLLHUP | select.POLLERR | (select.POLLRDHUP if sys.platform == "linux" else 0)


def make_disconnect_check(request: Request) -> Callable[[], bool]:
    """Return a function that tells, from any thread, whether the client of the request has disconnected.

    A client that closed only its sending side counts as disconnected, because the two cannot be told apart.
    """
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def is_disconnected() -> bool:
        if connection is None:  # not under gunicorn
            return False
        poll = select.poll()
        try:
            poll.register(connection, _DISCONNECTED)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # closed here: the response has just been sent
            return True

    return is_disconnected
