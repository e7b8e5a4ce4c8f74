"""Simulate a machine that can start no more threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TOO_LARGE_BYTES = 1 << 62
"""Larger than any address space."""


@contextmanager
def no_threads() -> Iterator[None]:
    """Make every start of a thread fail with "can't start new thread", as at a container's limit."""
    before = threading.stack_size(_TOO_LARGE_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
