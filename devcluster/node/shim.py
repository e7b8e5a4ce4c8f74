"""The shim: the process that starts, logs and reaps the containers' processes, like containerd's shim on a real node.

It is a separate program for three reasons. It has one thread and little memory, so `fork` is safe and fast. It stamps
and stores output without competing with the API server for the interpreter lock. And it guarantees that no container
outlives the cluster, however the cluster ends:

- The cluster holds the write end of the shim's standard input. When the cluster dies, even by SIGKILL, that pipe
  closes. Then the shim kills every process group and, on Linux, every remaining descendant, removes the folder given as
  its argument, and exits.
- If the shim is killed, Linux kills each container's first process, which requested that with PR_SET_PDEATHSIG, and the
  cluster kills their groups. This signal is tied to the thread that forked, which is one more reason why the cluster,
  with its many threads, does not fork containers itself.

Requests are lines of JSON on standard input: `{"start": id, "argv": [], "env": {}, "cwd": "", "log": path | null}`
and `{"signal": id, "number": n}`. Notices are lines of JSON on standard output: `{"started": id, "pid": n}`,
`{"refused": id, "error": text}` and `{"exited": id, "code": n}`, each with `at`, the Unix time in seconds.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import selectors
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

LINE_BYTES = 16 * 1024  # longer lines are split, as in containerd
LOG_BYTES = 10 * 1024 * 1024  # at this size the log is rotated; one old file is kept, as in the kubelet
_CHUNK_BYTES = 64 * 1024  # the capacity of a pipe
_CHUNKS_AT_ONCE = 16
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Log:
    """A container's log file in the format of the Container Runtime Interface: time, stream, F or P (partial), text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = 0
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        """Add output; a line is stored when it is complete or too long."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        stored = b"".join(self._stamp(line, b"F") for line in lines)
        while len(self._rest) >= LINE_BYTES:
            stored += self._stamp(self._rest[:LINE_BYTES], b"P")
            self._rest = self._rest[LINE_BYTES:]
        self._store(stored)

    def close(self) -> None:
        """Store the last, unterminated line and close the file."""
        if self._rest:
            self._store(self._stamp(self._rest, b"P"))
        self._file.close()

    def _store(self, text: bytes) -> None:
        if self._size + len(text) > LOG_BYTES:
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._file = self._path.open("ab", buffering=0)
            self._size = 0
        with contextlib.suppress(OSError):  # a full disk loses output, but must not end the containers
            self._file.write(text)
        self._size += len(text)

    @staticmethod
    def _stamp(line: bytes, tag: bytes) -> bytes:
        prefix = b""
        while len(line) > LINE_BYTES:
            prefix += Log._stamp(line[:LINE_BYTES], b"P")
            line = line[LINE_BYTES:]
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return prefix + b"%s.%09dZ stdout %s %s\n" % (moment.encode(), nanoseconds, tag, line)


class Process:
    """One started process; its pid is also the id of its group."""

    def __init__(self, name: str, pid: int, output: int, log: Log | None) -> None:
        self.name = name
        self.pid = pid
        self.output = output
        self._log = log

    def drain(self) -> bool:
        """Read the available output, up to a limit so that others get a turn; False at its end."""
        for _ in range(_CHUNKS_AT_ONCE):
            try:
                chunk = os.read(self.output, _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            if self._log:
                self._log.write(chunk)
        return True

    def close(self) -> None:
        """Store the remaining output."""
        self.drain()
        os.close(self.output)
        if self._log:
            self._log.close()

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Shim:
    """The loop between the cluster's requests and the processes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._processes: dict[str, Process] = {}
        self._by_pid: dict[int, Process] = {}
        self._selector = selectors.DefaultSelector()
        self._requests = b""
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until the cluster closes its end or dies."""
        if self._libc:
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):  # hundreds of containers need more than the default of 1,024
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the cluster handles Ctrl-C
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        exits, exits_write = os.pipe()
        os.set_blocking(exits, False)
        os.set_blocking(exits_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(exits_write, warn_on_full_buffer=False)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(exits, selectors.EVENT_READ)
        try:
            with contextlib.suppress(BrokenPipeError):  # the cluster is gone
                self._serve(exits)
        finally:
            self._end()
        # Not after SIGTERM: then the cluster continues with another shim.
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self, exits: int) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == 0:
                    if not self._receive():
                        return
                elif key.fd == exits:
                    with contextlib.suppress(BlockingIOError):
                        os.read(exits, _CHUNK_BYTES)
                    self._reap()
                elif self._is_open(key.data) and not key.data.drain():
                    self._selector.unregister(key.fd)

    def _is_open(self, process: Process) -> bool:
        """Return whether more output may come. A closed descriptor may already belong to another process's pipe."""
        key = self._selector.get_map().get(process.output)
        return key is not None and key.data is process

    def _receive(self) -> bool:
        chunk = os.read(0, _CHUNK_BYTES)
        *lines, self._requests = (self._requests + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "start" in request:
                self._start(request)
            elif process := self._processes.get(request["signal"]):
                process.signal(request["number"])
        return bool(chunk)

    def _start(self, request: dict[str, Any]) -> None:
        name: str = request["start"]
        try:
            log = Log(Path(request["log"])) if request["log"] else None
            pid, output = self._fork(request)
        except (OSError, ValueError) as error:
            self._notify({"refused": name, "error": _explain(error, request)})
            return
        process = Process(name, pid, output, log)
        self._processes[name] = self._by_pid[pid] = process
        self._selector.register(output, selectors.EVENT_READ, process)
        self._notify({"started": name, "pid": pid})

    def _fork(self, request: dict[str, Any]) -> tuple[int, int]:
        output, output_write = os.pipe()
        failure, failure_write = os.pipe()
        os.set_blocking(output, False)
        pid = os.fork()
        if pid == 0:
            self._become(request, output_write, failure_write)
        os.close(output_write)
        os.close(failure_write)
        report = os.read(failure, 16).split()  # empty when the program runs: the pipe closes on exec
        os.close(failure)
        if report:
            os.close(output)
            os.waitpid(pid, 0)
            what = request["cwd"] if report[1] == b"chdir" else request["argv"][0]
            raise OSError(int(report[0]), os.strerror(int(report[0])), what)
        return pid, output

    def _become(self, request: dict[str, Any], output: int, failure: int) -> None:
        """Turn the forked child into the container's process; never returns."""
        step = b"chdir"
        try:
            os.setsid()
            if self._libc:
                self._libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
                if os.getppid() != self._pid:
                    os._exit(1)  # the shim died before prctl took effect
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(request["cwd"])
            step = b"exec"
            os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  # running the given program is the purpose
        except OSError as error:
            os.write(failure, b"%d %s" % (error.errno or errno.EIO, step))
        except ValueError:
            os.write(failure, b"%d %s" % (errno.EINVAL, step))  # a NUL character in an argument
        finally:
            os._exit(127)

    def _reap(self) -> None:
        """Reap the ended processes, including orphans that this subreaper inherited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._by_pid.pop(pid, None)
            if process is None:
                continue
            process.signal(signal.SIGKILL)  # a container ends with its first process
            del self._processes[process.name]
            if self._is_open(process):
                self._selector.unregister(process.output)
            process.close()
            code = os.waitstatus_to_exitcode(status)
            self._notify({"exited": process.name, "code": code if code >= 0 else 128 - code})

    @staticmethod
    def _notify(notice: dict[str, Any]) -> None:
        rest = json.dumps({**notice, "at": time.time()}).encode() + b"\n"
        while rest:
            rest = rest[os.write(1, rest) :]

    def _end(self) -> None:
        signal.set_wakeup_fd(-1)
        for process in self._by_pid.values():
            process.signal(signal.SIGKILL)
        # A descendant outside its group becomes this subreaper's child when its parent dies; reap until none is left.
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in _children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path("/proc/thread-self/children").read_text(encoding="ascii").split()]
    except OSError:
        return []  # not Linux


def _explain(error: Exception, request: dict[str, Any]) -> str:
    """Return a container runtime's error message for a program that could not be started."""
    program: str = request["argv"][0]
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, OSError) and error.filename == request["cwd"]:
        return f"chdir to cwd ({json.dumps(request['cwd'])}) failed: {text.lower()}"
    if isinstance(error, FileNotFoundError) and "/" not in program:
        text = "executable file not found in $PATH"
    return f"exec: {json.dumps(program)}: {text[:1].lower()}{text[1:]}"


if __name__ == "__main__":
    Shim(sys.argv[1]).run()
