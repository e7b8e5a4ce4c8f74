"""Container logs: storing the output of each run, and reading it as the kubelet does.

See https://kubernetes.io/docs/concepts/cluster-administration/logging/ and, for the error messages, `kubelet_pods.go`.
A container's runs have the numbers of its restarts; like the kubelet, the node keeps the last two.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from devcluster.errors import bad_request, quote
from devcluster.http.logs import LogOptions
from devcluster.objects import Object, to_micro_time

_FOLLOW_SECONDS = 0.05  # the poll interval for a followed file
_MESSAGE_BYTES = 2048  # of a termination message made from the log
_MESSAGE_LINES = 80
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_WAITING_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class Logs:
    """All logs in a folder. Any thread may read; everything else is only for the loop's thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended: dict[Path, threading.Event] = {}
        self._closing = threading.Event()

    def open(self, uid: str, container: str, run: int) -> Path:
        """Return the file for a run's log, and remove the log of the run before the previous one."""
        path = self._path(uid, container, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._ended[path] = threading.Event()
        self._remove(self._path(uid, container, run - 2))
        return path

    def end(self, uid: str, container: str, run: int) -> None:
        """Mark a log as complete, so that its followers come to an end."""
        if event := self._ended.get(self._path(uid, container, run)):
            event.set()

    def remove(self, uid: str) -> None:
        """Delete a pod's logs."""
        for path in [path for path in self._ended if path.parent.parent.name == uid]:
            self._ended.pop(path).set()
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def close(self) -> None:
        """End all followers."""
        self._closing.set()
        for event in list(self._ended.values()):
            event.set()

    def message(self, uid: str, container: str, run: int) -> str:
        """Return the end of a run's log as a termination message: at most 80 lines and 2,048 bytes."""
        entries = _File(self._path(uid, container, run)).read()[-_MESSAGE_LINES:]
        return b"".join(_render(entries))[-_MESSAGE_BYTES:].decode(errors="replace")

    def read(self, pod: Object, options: LogOptions) -> Iterator[bytes]:
        """Return a container's output in pieces; see `LogSource.read`.

        Raises:
            ApiError: 400, the container has no log yet, or no earlier run.
        """
        run = _run_of(pod, options.container, options.previous)
        path = self._path(pod["metadata"]["uid"], options.container, run)
        since = to_micro_time(options.since or _EVER).encode()
        # Raise errors from this call, not from the first piece, so that they can still become the response's status.
        pieces = self._pieces(path, options.follow, options.tail_lines, since, options.timestamps)
        return _limit(pieces, options.limit_bytes)

    def _pieces(
        self, path: Path, follow: bool, tail_lines: int | None, since: bytes, timestamps: bool
    ) -> Iterator[bytes]:
        ended, file = self._ended.get(path), _File(path)
        while True:
            # Checked before reading, so that the read sees the whole log of an ended run.
            is_over = not follow or ended is None or ended.is_set() or self._closing.is_set()
            entries = [entry for entry in file.read() if entry >= since]  # entries begin with their time
            if tail_lines is not None:
                entries, tail_lines = entries[max(0, len(entries) - tail_lines) :], None
            yield b"".join(_render(entries, timestamps))
            if is_over or ended is None:
                return
            ended.wait(_FOLLOW_SECONDS)

    def _path(self, uid: str, container: str, run: int) -> Path:
        return self._folder / uid / container / f"{run}.log"

    def _remove(self, path: Path) -> None:
        self._ended.pop(path, None)
        path.unlink(missing_ok=True)


class _File:
    """Reads a log file entry by entry, also across its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0

    def read(self) -> list[bytes]:
        """Return the complete entries since the last call, each `time stream F-or-P text`."""
        try:
            with self._path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                complete, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []  # being rotated, or removed
        self._offset += len(complete) + len(newline)
        return complete.split(b"\n") if newline else []


def _render(entries: list[bytes], timestamps: bool = False) -> Iterator[bytes]:
    starts_line = True
    for entry in entries:
        time, _, tag, text = entry.split(b" ", 3)
        if timestamps and starts_line:
            yield time + b" "
        yield text
        starts_line = tag == b"F"
        if starts_line:
            yield b"\n"


def _limit(pieces: Iterator[bytes], limit_bytes: int | None) -> Iterator[bytes]:
    left = limit_bytes
    for piece in pieces:
        if left is None:
            yield piece
            continue
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _run_of(pod: Object, container: str, previous: bool) -> int:
    """Return the number of the run whose log is requested."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    entries = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    found = next((entry for entry in entries if entry["name"] == container), None)
    where = f"container {quote(container)} in pod {quote(metadata['name'])}"
    if found is None:
        raise bad_request(f"{where} is not available")
    restarts: int = found.get("restartCount", 0)
    state: Object = found.get("state") or {}
    last: Object = (found.get("lastState") or {}).get("terminated") or {}
    if previous:
        if not last.get("containerID"):
            raise bad_request(f"previous terminated {where} not found")
        return restarts if "waiting" in state else restarts - 1
    if "waiting" in state and not last.get("containerID"):
        reason = state["waiting"].get("reason", "")
        raise bad_request(f"{where} is waiting to start: {_WAITING_WORDS.get(reason, reason)}")
    return restarts
