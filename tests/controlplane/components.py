"""The control plane's processes: started with a log file, stopped, paused, and never left running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_STOP_SECONDS = 20.0


class Reaper:
    """A process that kills the watched processes when this process has ended, however it ended."""

    def __init__(self, folder: Path) -> None:
        """Start the reaper; at the end it removes `folder`."""
        script = Path(__file__).with_name("reaper.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", script, folder], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """Kill the process when this one ends."""
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        """Undo `watch`: the process has ended, and its pid may be reused."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Kill what is still watched, and remove the folder."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Component:
    """One program with fixed arguments, which can be started and stopped repeatedly."""

    def __init__(self, program: Path, arguments: Sequence[str], log: Path, reaper: Reaper) -> None:
        self.name = program.name
        self.log = log
        self._command = [str(program), *arguments]
        self._reaper = reaper
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            RuntimeError: the program is not running; the message has the end of its log.
        """
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} is not running; its log ends:\n{self.log_end()}")
        return self._process.pid

    def check(self) -> None:
        """Raise the error of `pid` if the program was started and has ended by itself."""
        if self._process is not None:
            _ = self.pid

    def start(self) -> None:
        """Start the program; it may not serve yet when this returns."""
        assert self._process is None, f"{self.name} runs"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C in a terminal must only reach the tests, which then stop this
            )
        self._reaper.watch(self._process.pid)

    def stop(self) -> None:
        """Stop the program as an operator would, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program (`kill -9`), and wait until it has ended."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the program: its connections stay open, but it does not respond."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused program."""
        os.kill(self.pid, signal.SIGCONT)

    def log_end(self, max_bytes: int = 4000) -> str:
        """Return the end of the program's log."""
        return self.log.read_bytes()[-max_bytes:].decode(errors="replace")

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(by)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reaper.forget(process.pid)
