"""Responses that end in time, however slowly they arrive.

A socket's timeout bounds each wait for the next bytes. A server that sends one byte every few seconds would never
exceed it. Here each wait is also bounded by what is left of a deadline for the whole response. A response may be silent
for hours, as a followed log is: then a function is called now and then that tells whether waiting still makes sense.
"""

import http.client
import io
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast


@dataclass(frozen=True, slots=True)
class ReadDeadline:
    """How long a response is waited for.

    Attributes:
        at: when the whole response must have arrived (`time.monotonic()`).
        ask_seconds: after how much silence, each time, `ask` is called.
        ask: raises when waiting makes no sense; what it raises ends the response.
    """

    at: float = float("inf")
    ask_seconds: float = float("inf")
    ask: Callable[[], None] | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        """Return a deadline that ends so many seconds from now; `None`: it never ends."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)


class Response(http.client.HTTPResponse):
    """A response that raises `TimeoutError` at its deadline.

    Args:
        sock: to read from.
        read_deadline: how long to wait for it.
    """

    def __init__(self, sock: socket.socket, *args: Any, read_deadline: ReadDeadline, **kwargs: Any) -> None:
        # The base class uses the socket only to make a file of it.
        super().__init__(cast(socket.socket, _FileMaker(sock, read_deadline)), *args, **kwargs)


class _FileMaker:
    """A socket, as far as `http.client.HTTPResponse` uses it."""

    def __init__(self, sock: socket.socket, read_deadline: ReadDeadline) -> None:
        self._sock = sock
        self._read_deadline = read_deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._read_deadline))


class _DeadlineReader(io.RawIOBase):
    """The unbuffered file of a socket."""

    def __init__(self, sock: socket.socket, read_deadline: ReadDeadline) -> None:
        self._sock = sock
        self._read_deadline = read_deadline
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open for as long as this is
        timeout = sock.gettimeout()
        self._silence_seconds = self._timeout_seconds = float("inf") if timeout is None else timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ask = self._read_deadline.ask
        now = time.monotonic()
        silence_ends = now + self._silence_seconds
        left_seconds = min(self._read_deadline.at - now, self._silence_seconds)
        while left_seconds > 0:
            self._set_timeout(min(left_seconds, self._read_deadline.ask_seconds))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                left_seconds = min(self._read_deadline.at, silence_ends) - time.monotonic()
                if ask is not None and left_seconds > 0:
                    ask()
        raise TimeoutError("timed out")

    def _set_timeout(self, seconds: float) -> None:
        """Set the socket's timeout. Each change is a system call, so the usual read of a response makes none."""
        if seconds != self._timeout_seconds:
            self._timeout_seconds = seconds
            self._sock.settimeout(None if seconds == float("inf") else seconds)

    def close(self) -> None:
        self._file.close()
        super().close()
