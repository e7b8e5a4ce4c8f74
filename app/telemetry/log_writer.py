"""Writing the log in a thread of its own.

Threads that write to one stream wait for each other, and for the interpreter after each system call. With a line for
each request that costs a fifth of the time of the threads that answer requests.
"""

import logging
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TextIO

_MAX_LINES = 1000
"""How many lines may wait for the thread; the thread that adds one more writes them all."""

_PAUSE_SECONDS = 0.01
"""Between two writes of the thread: lines of the meantime are written together."""


class LogWriter(logging.Handler):
    """Writes lines to a stream, in the order in which they were logged.

    Until `start`, each line is written by the thread that logs it. After that a thread writes the lines below WARNING,
    within about `_PAUSE_SECONDS`. A line of WARNING or above is written before the logging call returns, together with
    all lines before it, and `flush` writes what is left: `logging.shutdown` calls it at the end of the process.

    Args:
        stream: where lines go; `None`: standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._lines: deque[str] = deque()
        self._writing = threading.Lock()
        self._added = threading.Event()
        self._thread: threading.Thread | None = None

    def createLock(self) -> None:  # noqa: N802 - the library's name
        """Do without the library's lock, which threads would hold while they format and write."""
        self.lock = None

    def start(self) -> None:
        """Start the thread. Call this after the last fork: threads do not survive one."""
        thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        with suppress(RuntimeError):  # no thread can be started: each line is written where it is logged
            thread.start()
            self._thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or leave it to the thread."""
        try:
            self._lines.append(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)
            return
        if self._thread is None or record.levelno >= logging.WARNING or len(self._lines) > _MAX_LINES:
            self.flush()
        elif not self._added.is_set():
            self._added.set()

    def flush(self) -> None:
        """Write all lines that wait. A stream that can't be written to loses them."""
        with self._writing:
            lines = []
            while self._lines:
                lines.append(self._lines.popleft())
            if lines:
                with suppress(OSError, ValueError):
                    self._stream.write("".join(lines))
                    self._stream.flush()

    def _run(self) -> None:
        while True:
            self._added.wait()
            self._added.clear()
            self.flush()
            time.sleep(_PAUSE_SECONDS)
