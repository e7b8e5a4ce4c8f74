"""An end to a response, however slowly it comes, or whatever it waits for.

A socket's timeout bounds each wait for the next bytes: a server that sends one every few seconds would be waited for
for ever. Here each wait is bounded by what is left of the whole. And where a response may well bring nothing for hours,
as a followed log, somebody is asked now and then whether there is any sense in waiting on.
"""

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class ReadDeadline:
    """How long a response is waited for.

    Attributes:
        deadline: by when all of it must have come, seconds by the monotonic clock.
        ask_seconds: after how much silence, each time, `ask` is called.
        ask: raises where waiting makes no sense.
    """

    deadline: float = float("inf")
    ask_seconds: float = float("inf")
    ask: Callable[[], None] | None = None


class _Reading(threading.local):
    """How long the present thread waits for the response that it is about to read; every call says so anew."""

    patience = ReadDeadline()


_reading = _Reading()


def set_read_deadline(seconds: float | None) -> None:
    """Say how long the present thread's next call may take as a whole; `None`: as long as bytes come."""
    _reading.patience = ReadDeadline() if seconds is None else ReadDeadline(time.monotonic() + seconds)


def set_liveness_check(ask: Callable[[], None], seconds: float) -> None:
    """Have it asked after so much silence of the present thread's next call, each time, whether to wait on.

    Args:
        ask: raises where not; what it raises ends the response.
        seconds: at which intervals.
    """
    _reading.patience = ReadDeadline(ask_seconds=seconds, ask=ask)


class Response(http.client.HTTPResponse):
    """A response that is waited for with patience, and breaks off with `TimeoutError` at its deadline."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        # All that the base class does with the socket is to make a file of it.
        super().__init__(cast(socket.socket, _PatientSocket(sock, _reading.patience)), *args, **kwargs)


class _PatientSocket:
    """A socket, as far as a response has any use for it."""

    def __init__(self, sock: socket.socket, patience: ReadDeadline) -> None:
        self._sock = sock
        self._patience = patience

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PatientReader(self._sock, self._patience))


class _PatientReader(io.RawIOBase):
    """The unbuffered file of a socket."""

    def __init__(self, sock: socket.socket, patience: ReadDeadline) -> None:
        self._sock = sock
        self._patience = patience
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open for as long as this is
        self._silence_seconds = float("inf") if (timeout := sock.gettimeout()) is None else timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        patience = self._patience
        ends = min(patience.deadline, time.monotonic() + self._silence_seconds)
        while (left_seconds := ends - time.monotonic()) > 0:
            wait_seconds = min(left_seconds, patience.ask_seconds)
            self._sock.settimeout(None if wait_seconds == float("inf") else wait_seconds)
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                if patience.ask is not None and time.monotonic() < ends:
                    patience.ask()
        raise TimeoutError("timed out")

    def close(self) -> None:
        self._file.close()
        super().close()
