"""Detection of clients that disconnect while their stream is idle.

A watch may have nothing to send for minutes. Without this module, its thread would only notice at the next event that
the client is gone. One thread waits on all connections with an open stream.
"""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator


class DisconnectWatcher:
    """Calls a stream's `close` when its client disconnects, or when this watcher stops."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker, self._alarm = socket.socketpair()
        self._alarm.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._guard = threading.Lock()
        self._open: dict[socket.socket, Callable[[], None]] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="api-server-disconnects", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close all open streams and end the thread; may be called without `start`."""
        with self._guard:
            if self._stopping:
                return
            self._stopping = True
            closers = list(self._open.values())
        for close in closers:
            close()
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        self._selector.close()
        self._waker.close()
        self._alarm.close()

    @contextlib.contextmanager
    def watching(self, connection: socket.socket, close: Callable[[], None]) -> Iterator[None]:
        """Watch a connection while the context is open."""
        with self._guard:
            self._open[connection] = close
            if self._stopping:
                close()
            else:
                self._selector.register(connection, selectors.EVENT_READ, close)
        self._wake()
        try:
            yield
        finally:
            with self._guard:
                del self._open[connection]
                if not self._stopping:
                    with contextlib.suppress(KeyError):  # unregistered already: the client sent data or disconnected
                        self._selector.unregister(connection)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(OSError):
                        self._alarm.recv(4096)
                else:
                    self._check(key.fileobj, key.data)

    def _check(self, connection: object, close: Callable[[], None]) -> None:
        assert isinstance(connection, socket.socket)
        with self._guard:
            if connection not in self._open:
                return  # its stream has ended
            # Watch for the first event only. If it is data, the client pipelines: the next request is read when this
            # stream has ended.
            with contextlib.suppress(KeyError):
                self._selector.unregister(connection)
        try:
            gone = not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            close()
