"""The last valid configuration, in memory that the worker processes of one service share."""

import fcntl
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager


class LastValidConfiguration:
    """One document that is shared with every process forked after this object was made.

    gunicorn replaces a worker that died by a fork of its first process, which has the configuration of the start. If
    the file is faulty by then, the new worker takes this document, so that it serves what the other workers serve.
    """

    def __init__(self) -> None:
        self._file = _open_memory()
        weakref.finalize(self, os.close, self._file)

    def save(self, document: str) -> None:
        """Save a document for processes that start later."""
        with self._lock():
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, document.encode(), 0)

    def load(self) -> str | None:
        """Return the document that was saved last; `None`: there is none.

        If its writer was killed in the middle, the document is cut off. A JSON object that is cut off is not valid.
        """
        with self._lock():
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        return content.decode(errors="replace") or None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # A POSIX lock belongs to one process, even if the open file is shared by a fork, and ends with the process.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _open_memory() -> int:
    if hasattr(os, "memfd_create"):  # Linux; it needs no file system that can be written
        return os.memfd_create("job-configuration")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
