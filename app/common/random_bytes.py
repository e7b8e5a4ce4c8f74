"""Unpredictable bytes, drawn from the kernel in larger pieces.

Each time that the kernel is asked, the interpreter goes to another thread and has to be won back: a request that needs
three names would be delayed three times.
"""

import os
import threading

_DRAWN_BYTES = 4096


class _Supply:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        with self._lock:
            if self._used + count > len(self._drawn):
                self._drawn, self._used = os.urandom(max(count, _DRAWN_BYTES)), 0
            self._used += count
            return self._drawn[self._used - count : self._used]


_supply = _Supply()


def random_bytes(count: int) -> bytes:
    """Return so many bytes that nobody can predict; safe in several threads and processes."""
    return _supply.take(count)


def random_hex(count: int) -> str:
    """Return so many such bytes as hexadecimal digits, two for each byte."""
    return random_bytes(count).hex()


def _renew() -> None:
    global _supply  # noqa: PLW0603 - a forked process must not hand out what its parent hands out
    _supply = _Supply()


os.register_at_fork(after_in_child=_renew)
