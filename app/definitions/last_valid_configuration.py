"""What the processes that are forked from one another share of the configuration: the last one without faults."""

import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

_DIGEST_BYTES = 32


class LastValidConfiguration:
    """A document in memory that is shared with every process forked after this object was made.

    A worker that is started anew is a fork of the first process, which follows no file: without this it would fall back
    to the configuration that the service was started with.
    """

    def __init__(self) -> None:
        self._file = _open_memory()
        weakref.finalize(self, os.close, self._file)

    def keep(self, document: str) -> None:
        """Keep a document for processes that start later."""
        content = document.encode()
        with self._lock():
            os.ftruncate(self._file, 0)
            _write(self._file, sha256(content).digest() + content)

    def recall(self) -> str | None:
        """The document kept last; `None`: none was, or whoever wrote it was ended in the middle."""
        with self._lock():
            kept = _read(self._file)
        digest, content = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        return content.decode() if content and sha256(content).digest() == digest else None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # POSIX locks are a process's own, also where the open file is shared with it by a fork, and end with it.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _open_memory() -> int:
    if hasattr(os, "memfd_create"):  # Linux; a root file system that can't be written is no obstacle
        return os.memfd_create("job-configuration")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


# The position in the file is shared with the other processes, too: it is neither used nor moved.


def _write(file: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(file, content[written:], written)


def _read(file: int) -> bytes:
    pieces = []
    position = 0
    while piece := os.pread(file, 1024 * 1024, position):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)
