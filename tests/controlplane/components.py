"""The control plane's processes: started with a log file, stopped, paused, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_STOP_SECONDS = 20.0


class Warden:
    """A process that kills what it has been told of as soon as this process is gone, however it went."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder to remove at the end."""
        script = Path(__file__).with_name("reaper.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", script, folder], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """Has the process killed when this one ends."""
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        """Takes back `watch`: the process has ended, and its number may be another's."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Kills what is still watched, and removes the folder."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_STOP_SECONDS)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Component:
    """One program with fixed arguments, which may be started and stopped any number of times."""

    def __init__(self, program: Path, arguments: Sequence[str], log: Path, warden: Warden) -> None:
        self.name = program.name
        self.log = log
        self._command = [str(program), *arguments]
        self._warden = warden
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's number.

        Raises:
            RuntimeError: when the program isn't running; the message has the end of its log.
        """
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} isn't running; its log ends:\n{self.log_end()}")
        return self._process.pid

    def check(self) -> None:
        """Raises what `pid` does when the program was started and has ended by itself."""
        if self._process is not None:
            _ = self.pid

    def start(self) -> None:
        """Starts the program; returns before it serves."""
        assert self._process is None, f"{self.name} runs"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C in a terminal is for the tests, which stop this in good order
            )
        self._warden.watch(self._process.pid)

    def stop(self) -> None:
        """Ends the program as an operator would, and returns once it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the program at once (`kill -9`), and returns once it has ended."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freezes the program: its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused program go on."""
        os.kill(self.pid, signal.SIGCONT)

    def log_end(self, max_bytes: int = 4000) -> str:
        """The last part of what the program has written."""
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
        self._warden.forget(process.pid)
