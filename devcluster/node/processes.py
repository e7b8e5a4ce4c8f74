"""The cluster's client of the shim: it requests processes, and forwards their events."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from devcluster.controllers.loop import Loop

_SHIM = Path(__file__).with_name("shim.py")
_KILLED = 128 + signal.SIGKILL

_log = logging.getLogger(__name__)


class ProcessObserver(Protocol):
    """Receives the events of one process, on the loop. `at` is Unix time in seconds."""

    def on_started(self, at: float) -> None:
        """Handle the start of the program."""

    def on_refused(self, error: str, at: float) -> None:
        """Handle a program that could not be executed; no more events follow."""

    def on_exited(self, code: int, at: float) -> None:
        """Handle the exit of the process, after its output was stored; a signal counts as 128 plus its number."""


class Processes:
    """Starts processes through a shim, and ends them all with the cluster; only for the loop's thread.

    The shim removes `folder` when the cluster has ended, for whatever reason.
    """

    def __init__(self, loop: Loop, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        self._observers: dict[str, ProcessObserver] = {}
        self._pids: dict[str, int] = {}  # also the ids of the process groups
        self._stopping = False
        self._shim: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the shim."""
        command = [sys.executable, "-I", "-S", "-X", "utf8", str(_SHIM), str(self._folder)]
        # In a new session: Ctrl-C in the terminal must only reach the cluster, which then ends the shim.
        shim = subprocess.Popen(  # noqa: S603  # this interpreter runs a file of this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env={}, start_new_session=True
        )
        self._shim = shim
        self._reader = threading.Thread(target=self._read, args=(shim,), name="shim-notices", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End all processes and wait until they are gone. Call this after the loop ended."""
        self._stopping = True
        shim, reader = self._shim, self._reader
        if shim is None or reader is None:
            return
        assert shim.stdin
        assert shim.stdout
        shim.stdin.close()
        reader.join()
        shim.wait()
        shim.stdout.close()

    def launch(
        self,
        name: str,
        argv: list[str],
        variables: dict[str, str],
        folder: str,
        log: Path | None,
        observer: ProcessObserver,
    ) -> None:
        """Start a process.

        Args:
            name: Unique among the running processes.
            argv: Program and arguments; the program is searched in the PATH of `variables`.
            variables: Its whole environment.
            folder: Its working directory.
            log: The file for its output; None discards it.
            observer: Receives its events.
        """
        self._observers[name] = observer
        request = {"start": name, "argv": argv, "env": variables, "cwd": folder, "log": str(log) if log else None}
        self._send(request)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process and its descendants; do nothing when it has ended."""
        if name in self._observers:
            self._send({"signal": name, "number": int(number)})

    def _send(self, request: dict[str, Any]) -> None:
        assert self._shim
        assert self._shim.stdin
        rest = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._shim.stdin.write(rest) or 0 :]
        except BrokenPipeError:
            pass  # the reader thread notices this as well, and reports every process as killed

    def _read(self, shim: "subprocess.Popen[bytes]") -> None:
        assert shim.stdout
        rest = b""
        while chunk := shim.stdout.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._loop.post(self._dispatch, json.loads(line))
        if not self._stopping:
            self._loop.post(self._replace_shim, shim)

    def _dispatch(self, notice: dict[str, Any]) -> None:
        at: float = notice["at"]
        if "started" in notice:
            self._pids[notice["started"]] = notice["pid"]
            self._observers[notice["started"]].on_started(at)
        elif "refused" in notice:
            self._observers.pop(notice["refused"]).on_refused(notice["error"], at)
        else:
            del self._pids[notice["exited"]]
            self._observers.pop(notice["exited"]).on_exited(notice["code"], at)

    def _replace_shim(self, shim: "subprocess.Popen[bytes]") -> None:
        """Start another shim after the old one was killed, and its processes with it."""
        assert shim.stdin
        assert shim.stdout
        _log.error(
            "the process supervisor (shim) exited with code %s, and all containers with it; starting another one",
            shim.wait(),
        )
        shim.stdin.close()
        shim.stdout.close()
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        orphaned, self._observers, self._pids = self._observers, {}, {}
        self.start()
        for observer in orphaned.values():
            observer.on_exited(_KILLED, time.time())
