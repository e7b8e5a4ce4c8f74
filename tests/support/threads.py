"""What happens when a machine has no more threads to give."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TOO_LARGE_BYTES = 1 << 62
"""No address space has room for such a stack."""


@contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started: Python says "can't start new thread", as it does at a container's limit."""
    before = threading.stack_size(_TOO_LARGE_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
