"""Ending a call from another thread, whatever it waits for.

urllib3 hands out a response once its head has come. A kubelet sends the head of a log's answer with the first line,
which may take hours: the connection must be at hand before that.
"""

import socket
import threading
from contextlib import suppress

import urllib3

from app.kube.deadlines import Response


class CancelToken:
    """Ends, from another thread, whatever a stream waits for: the head of its answer, or its next piece.

    One serves all streams that are opened one after the other for the same caller. Once it is set it stays so, and a
    stream that is opened with it ends at once.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @property
    def is_set(self) -> bool:
        """Whether whoever uses this is to end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause for so long, or until this is set; returns whether it is."""
        return self._event.wait(seconds)

    def set(self) -> None:
        """End what waits now, and what is yet to come."""
        with self._lock:
            self._event.set()
            self._shut()

    def attach(self, connection: socket.socket | None) -> None:
        """Take this connection for the one to end; `None`: none any more."""
        with self._lock:
            self._socket = connection
            if self._event.is_set():
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has ended already
                # The base class's: that of TLS would take the session away, and let what is encrypted pass for a text.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Opening(threading.local):
    """What the present thread is opening; every call says so anew."""

    cancel_token: CancelToken | None = None


_opening = _Opening()


def set_cancel_token(cancel_token: CancelToken | None) -> None:
    """Say what may end the call that the present thread is about to make; `None`: nothing."""
    _opening.cancel_token = cancel_token


def _attach(connection: socket.socket | None) -> None:
    if _opening.cancel_token is not None:
        _opening.cancel_token.attach(connection)


class _Connection(urllib3.connection.HTTPConnection):
    response_class = Response

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3 itself departs from http.client
        _attach(self.sock)
        return super().getresponse()


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = Response

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3 itself departs from http.client
        _attach(self.sock)
        return super().getresponse()


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS = {"http": _Pool, "https": _TlsPool}
"""What urllib3 is to keep connections in, so that calls can be ended, by others and by their deadlines."""
