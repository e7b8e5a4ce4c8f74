"""A program in a terminal of its own: 80 columns, keys, and what it has written."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.waiting import DEADLINE_SECONDS, until

COLUMNS = 80
_IN_ITS_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal the one whose Ctrl-C reaches the program, also where whoever runs the tests ignores Ctrl-C."""

_ORDERS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class TerminalProgram:
    """A program whose standard input, output and error are a terminal.

    Args:
        command: the program with its arguments.
        environment: its whole environment.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        self._output = bytearray()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _IN_ITS_TERMINAL, *command],
                stdin=inner,
                stdout=inner,
                stderr=inner,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(inner)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # Linux says so when the last process has closed the terminal
            while piece := os.read(self._terminal, 4096):
                self._output += piece

    @property
    def output(self) -> str:
        """What it has written so far, with its orders to the terminal."""
        return self._output.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What it has written so far, without orders."""
        return _ORDERS.sub("", self.output).replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        """Everything that has ever stood in one line of the terminal, also if it was replaced."""
        return [line for line in re.split(r"[\r\n]+", self.text) if line]

    def await_text(self, text: str) -> None:
        """Wait until it has written a text."""
        until(lambda: text in self.text or not self._reader.is_alive())
        assert text in self.text

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def press_ctrl_c(self) -> None:
        """Type Ctrl-C."""
        os.write(self._terminal, b"\x03")

    def wait(self) -> int:
        """Wait until it has ended and all its output is here; returns its exit code."""
        code = self._process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self._process.kill()
        self.wait()
        os.close(self._terminal)
