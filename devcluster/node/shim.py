"""The process that starts, logs and reaps the containers' processes; what containerd's shim is to a real node.

It runs as a program of its own, for three reasons. It has one thread and little memory, so that `fork` is safe and
quick. It stamps and stores output without competing with the API server for the interpreter lock. And it can promise
that no container outlives the cluster, however the cluster ends:

- the cluster holds the write end of this process's standard input. When the cluster dies, even by SIGKILL, that pipe
  closes; the shim then kills every process group, and on Linux every descendant left, removes the folder that it was
  given as its argument, and exits.
- should the shim be killed, Linux kills each container's first process, which asked for it with PR_SET_PDEATHSIG, and
  the cluster kills their groups. That signal is tied to the thread that forked, which is one more reason why the
  cluster, with its many threads, doesn't fork containers itself.

Requests come as lines of JSON on standard input: `{"start": id, "argv": [], "env": {}, "cwd": "", "log": path | null}`
and `{"signal": id, "number": n}`. Notices leave as lines of JSON on standard output: `{"started": id, "pid": n}`,
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

LINE_BYTES = 16 * 1024  # longer lines are split, as by containerd
LOG_BYTES = 10 * 1024 * 1024  # then the log starts anew and one older file is kept, as by the kubelet
_CHUNK_BYTES = 64 * 1024  # what a pipe holds
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
        """Take output as it comes; a line is stored when it is complete or too long."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        stored = b"".join(self._stamp(line, b"F") for line in lines)
        while len(self._rest) >= LINE_BYTES:
            stored += self._stamp(self._rest[:LINE_BYTES], b"P")
            self._rest = self._rest[LINE_BYTES:]
        self._store(stored)

    def close(self) -> None:
        """Store the last line, which has no end, and close the file."""
        if self._rest:
            self._store(self._stamp(self._rest, b"P"))
        self._file.close()

    def _store(self, text: bytes) -> None:
        if self._size + len(text) > LOG_BYTES:
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._file = self._path.open("ab", buffering=0)
            self._size = 0
        with contextlib.suppress(OSError):  # a full disk costs output, not the containers
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
    """One started process: its group has its pid."""

    def __init__(self, name: str, pid: int, output: int, log: Log | None) -> None:
        self.name = name
        self.pid = pid
        self.output = output
        self._log = log

    def drain(self) -> bool:
        """Read what is there, up to a limit so that others get their turn; False at the end of the output."""
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
        """Store the rest of the output."""
        self.drain()
        os.close(self.output)
        if self._log:
            self._log.close()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
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
        """Serve until the cluster closes its end or is gone."""
        if self._libc:
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(ValueError, OSError):  # hundreds of containers need more than the usual 1,024
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the cluster's to handle
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        exits, exits_write = os.pipe()
        os.set_blocking(exits, False)
        os.set_blocking(exits_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(exits_write, warn_on_full_buffer=False)
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(exits, selectors.EVENT_READ)
        try:
            with contextlib.suppress(BrokenPipeError):  # nobody listens any more
                self._serve(exits)
        finally:
            self._end()
        # Not on SIGTERM: then the cluster goes on with another shim.
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
        """Whether output may still come; a number that was closed may already belong to another process's pipe."""
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
        fault = os.read(failure, 16).split()  # ends when the program runs: the pipe closes on exec
        os.close(failure)
        if fault:
            os.close(output)
            os.waitpid(pid, 0)
            what = request["cwd"] if fault[1] == b"chdir" else request["argv"][0]
            raise OSError(int(fault[0]), os.strerror(int(fault[0])), what)
        return pid, output

    def _become(self, request: dict[str, Any], output: int, failure: int) -> None:
        """Turn the forked child into the container's process; never returns."""
        step = b"chdir"
        try:
            os.setsid()
            if self._libc:
                self._libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
                if os.getppid() != self._pid:
                    os._exit(1)  # the shim died before the line above
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(request["cwd"])
            step = b"exec"
            os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  # what a container is for
        except OSError as error:
            os.write(failure, b"%d %s" % (error.errno or errno.EIO, step))
        except ValueError:
            os.write(failure, b"%d %s" % (errno.EINVAL, step))  # a NUL character in an argument
        finally:
            os._exit(127)

    def _reap(self) -> None:
        """Collect the processes that ended, the orphans that this subreaper inherited among them."""
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
        # A descendant that left its group becomes this subreaper's child when its parent dies: until none is left.
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
    """Return the words of a container runtime that couldn't start a program."""
    program: str = request["argv"][0]
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, OSError) and error.filename == request["cwd"]:
        return f"chdir to cwd ({json.dumps(request['cwd'])}) failed: {text.lower()}"
    if isinstance(error, FileNotFoundError) and "/" not in program:
        text = "executable file not found in $PATH"
    return f"exec: {json.dumps(program)}: {text[:1].lower()}{text[1:]}"


if __name__ == "__main__":
    Shim(sys.argv[1]).run()
