"""The cluster's side of the shim: asks it for processes, and passes on what became of them."""

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


class Watcher(Protocol):
    """What is told about one process, on the loop. `at` is Unix time in seconds."""

    def on_started(self, at: float) -> None:
        """The program runs."""

    def on_refused(self, error: str, at: float) -> None:
        """The program couldn't be executed; nothing more will be told."""

    def on_exited(self, code: int, at: float) -> None:
        """The process ended, and its output is stored; a signal counts as 128 and its number."""


class Processes:
    """Starts processes through a shim, and ends them all with the cluster; for the loop's thread.

    `folder` is removed when the cluster has ended, in whatever way.
    """

    def __init__(self, loop: Loop, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        self._watchers: dict[str, Watcher] = {}
        self._pids: dict[str, int] = {}  # also the processes' groups
        self._stopping = False
        self._shim: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the shim."""
        command = [sys.executable, "-I", "-S", "-X", "utf8", str(_SHIM), str(self._folder)]
        # A session of its own: Ctrl-C in the terminal is for the cluster, which then ends the shim.
        shim = subprocess.Popen(  # noqa: S603  # this interpreter, on a file of this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env={}, start_new_session=True
        )
        self._shim = shim
        self._reader = threading.Thread(target=self._read, args=(shim,), name="shim-notices", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End every process, and wait until they are gone; after the loop ended."""
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
        self, name: str, argv: list[str], variables: dict[str, str], folder: str, log: Path | None, watcher: Watcher
    ) -> None:
        """Start a process.

        Args:
            name: Unique among the processes that run.
            argv: Program and arguments; the program is looked for in the PATH of `variables`.
            variables: Its whole environment.
            folder: Its working directory.
            log: Where to store its output; None drops it.
            watcher: What to tell of it.
        """
        self._watchers[name] = watcher
        request = {"start": name, "argv": argv, "env": variables, "cwd": folder, "log": str(log) if log else None}
        self._send(request)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a process and all that it started; one that has ended is fine."""
        if name in self._watchers:
            self._send({"signal": name, "number": int(number)})

    def _send(self, request: dict[str, Any]) -> None:
        assert self._shim
        assert self._shim.stdin
        rest = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._shim.stdin.write(rest) or 0 :]
        except BrokenPipeError:
            pass  # the reader notices, too, and reports every process as killed

    def _read(self, shim: "subprocess.Popen[bytes]") -> None:
        assert shim.stdout
        rest = b""
        while chunk := shim.stdout.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._loop.post(self._take, json.loads(line))
        if not self._stopping:
            self._loop.post(self._replace, shim)

    def _take(self, notice: dict[str, Any]) -> None:
        at: float = notice["at"]
        if "started" in notice:
            self._pids[notice["started"]] = notice["pid"]
            self._watchers[notice["started"]].on_started(at)
        elif "refused" in notice:
            self._watchers.pop(notice["refused"]).on_refused(notice["error"], at)
        else:
            del self._pids[notice["exited"]]
            self._watchers.pop(notice["exited"]).on_exited(notice["code"], at)

    def _replace(self, shim: "subprocess.Popen[bytes]") -> None:
        """The shim was killed, and its processes with it: start another one."""
        assert shim.stdin
        assert shim.stdout
        _log.error("the process supervisor ended with code %s; starting another one", shim.wait())
        shim.stdin.close()
        shim.stdout.close()
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        lost, self._watchers, self._pids = self._watchers, {}, {}
        self.start()
        for watcher in lost.values():
            watcher.on_exited(_KILLED, time.time())
