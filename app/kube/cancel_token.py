"""Ending a request to the API server from another thread, whatever it waits for.

urllib3 hands out a response once its head has arrived. A kubelet sends the head of a log with the first line, which may
take hours, so the token has to know the connection before that.
"""

import socket
import threading
from contextlib import suppress


class CancelToken:
    """Ends, from another thread, whatever a stream waits for: the head of its response, or its next piece.

    One token serves all streams that are opened one after the other for the same caller. A token stays set, and a
    stream that is opened with a set token ends at once.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @property
    def is_set(self) -> bool:
        """Whether the work that holds this token is to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause for so many seconds, or until the token is set; returns whether it is."""
        return self._event.wait(seconds)

    def set(self) -> None:
        """End the stream that is open, and every later one."""
        with self._lock:
            self._event.set()
            self._shut()

    def attach(self, connection: socket.socket | None) -> None:
        """Make this the connection to end; `None`: there is none any more."""
        with self._lock:
            self._socket = connection
            if self._event.is_set():
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended already
                # The base class's method: that of TLS would end the session first, and its close_notify would make a
                # log that breaks off look complete.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
