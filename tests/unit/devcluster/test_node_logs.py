"""Log files: writing by the shim, and reading by the node."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.http.logs import LogOptions
from devcluster.node.logs import Logs
from devcluster.node.shim import LINE_BYTES, LOG_BYTES, Log
from devcluster.objects import Object

POD: Object = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
    "spec": {"containers": [{"name": "c"}]},
    "status": {"containerStatuses": [{"name": "c", "restartCount": 0, "state": {"running": {}}}]},
}


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


@pytest.fixture
def read(logs: Logs) -> Callable[..., Iterator[bytes]]:
    """Read the log; missing options are as in a request without parameters."""

    def call(**options: object) -> Iterator[bytes]:
        return logs.read(POD, LogOptions(container="c", **options))  # type: ignore[arg-type]  # values of several types

    return call


def test_read__returns_the_lines_as_written(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """In whatever chunks they were written, with or without a final newline."""
    log = Log(logs.open("u", "c", 0))
    for piece in (b"on", b"e\ntwo\n\nth", b"ree", b"\n\xff\x00 end"):
        log.write(piece)
    assert b"".join(read()) == b"one\ntwo\n\nthree\n"
    log.close()
    assert b"".join(read()) == b"one\ntwo\n\nthree\n\xff\x00 end"


def test_read__joins_the_parts_of_a_long_line(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """It has one timestamp."""
    line = b"x" * (2 * LINE_BYTES + 10)
    log = Log(logs.open("u", "c", 0))
    log.write(line[: LINE_BYTES + 5])
    log.write(line[LINE_BYTES + 5 :] + b"\n")
    log.close()
    assert b"".join(read()) == line + b"\n"
    assert b"".join(read(timestamps=True)).count(b" ") == 1


def test_log__is_rotated_when_too_large(logs: Logs, read: Callable[..., Iterator[bytes]], tmp_path: Path) -> None:
    """Disk use is bounded; a follower continues with the new file."""
    path = logs.open("u", "c", 0)
    log = Log(path)
    log.write(b"first\n")
    followed = read(follow=True)
    assert next(followed) == b"first\n"
    line = b"y" * 1000 + b"\n"
    for _ in range(LOG_BYTES // 1000):
        log.write(line)
    log.write(b"last\n")
    log.close()
    logs.end("u", "c", 0)
    assert b"".join(followed).endswith(b"last\n")
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 2 * LOG_BYTES


def test_read__follower_ends_when_the_logs_close(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """So a cluster can stop while containers run."""
    logs.open("u", "c", 0)
    followed = read(follow=True)
    assert next(followed) == b""
    logs.close()
    assert list(followed) == [b""]


def test_message__is_the_end_of_the_log(logs: Logs) -> None:
    """At most 80 lines and 2,048 bytes."""
    log = Log(logs.open("u", "c", 0))
    log.write(b"".join(b"%d\n" % number for number in range(100)))
    assert logs.message("u", "c", 0).splitlines() == [str(number) for number in range(20, 100)]
    log.write(b"z" * 5000)
    log.close()
    assert logs.message("u", "c", 0) == "z" * 2048


def test_open__keeps_the_last_two_runs(logs: Logs, tmp_path: Path) -> None:
    """As the kubelet does: the current run and the previous one."""
    for run in range(4):
        Log(logs.open("u", "c", run)).close()
    assert sorted(path.name for path in (tmp_path / "u" / "c").iterdir()) == ["2.log", "3.log"]
