"""An end to a response by a certain moment, however slowly it comes.

A socket's timeout bounds each wait for the next bytes: a server that sends one every few seconds would be waited for
for ever. Here each wait is bounded by what is left of the whole.
"""

import http.client
import io
import socket
import threading
import time
from typing import Any, cast


class _Reading(threading.local):
    """By when the response that the present thread is about to read has to end; every call says so anew."""

    deadline: float | None = None


_reading = _Reading()


def read_within(seconds: float | None) -> None:
    """Say how long the present thread's next call may take as a whole; `None`: as long as bytes come."""
    _reading.deadline = None if seconds is None else time.monotonic() + seconds


class Response(http.client.HTTPResponse):
    """A response that is read by its deadline, or breaks off with `TimeoutError`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        deadline = _reading.deadline
        # All that the base class does with the socket is to make a file of it.
        readable = sock if deadline is None else cast(socket.socket, _BoundedSocket(sock, deadline))
        super().__init__(readable, *args, **kwargs)


class _BoundedSocket:
    """A socket, as far as a response has any use for it."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._deadline))


class _BoundedReader(io.RawIOBase):
    """The unbuffered file of a socket, of which each read waits until the deadline at the most."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._file = sock.makefile("rb", buffering=0)
        self._silence_seconds = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError("timed out")
        silence_seconds = left_seconds if self._silence_seconds is None else self._silence_seconds
        self._sock.settimeout(min(left_seconds, silence_seconds))
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
