"""Log files: how the shim writes them, and how they are read."""

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
    """Read the log; what isn't given is as a request without parameters."""

    def call(**options: object) -> Iterator[bytes]:
        return logs.read(POD, LogOptions(container="c", **options))  # type: ignore[arg-type]  # of several types

    return call


def test_lines_come_back_as_they_were_written(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """In whatever pieces they came, with or without an end of the last one."""
    log = Log(logs.open("u", "c", 0))
    for piece in (b"on", b"e\ntwo\n\nth", b"ree", b"\n\xff\x00 end"):
        log.write(piece)
    assert b"".join(read()) == b"one\ntwo\n\nthree\n"
    log.close()
    assert b"".join(read()) == b"one\ntwo\n\nthree\n\xff\x00 end"


def test_a_long_line_is_stored_in_parts_and_read_as_one(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """One time stamp, one line."""
    line = b"x" * (2 * LINE_BYTES + 10)
    log = Log(logs.open("u", "c", 0))
    log.write(line[: LINE_BYTES + 5])
    log.write(line[LINE_BYTES + 5 :] + b"\n")
    log.close()
    assert b"".join(read()) == line + b"\n"
    assert b"".join(read(timestamps=True)).count(b" ") == 1


def test_a_log_that_gets_too_large_starts_anew(
    logs: Logs, read: Callable[..., Iterator[bytes]], tmp_path: Path
) -> None:
    """Disk use has a bound; a reader that follows goes on with the new file."""
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


def test_a_follower_ends_when_the_logs_close(logs: Logs, read: Callable[..., Iterator[bytes]]) -> None:
    """A cluster that stops doesn't wait for its readers' containers."""
    logs.open("u", "c", 0)
    followed = read(follow=True)
    assert next(followed) == b""
    logs.close()
    assert list(followed) == [b""]


def test_the_message_is_the_end_of_the_log(logs: Logs) -> None:
    """At most 80 lines and 2,048 bytes."""
    log = Log(logs.open("u", "c", 0))
    log.write(b"".join(b"%d\n" % number for number in range(100)))
    assert logs.message("u", "c", 0).splitlines() == [str(number) for number in range(20, 100)]
    log.write(b"z" * 5000)
    log.close()
    assert logs.message("u", "c", 0) == "z" * 2048


def test_only_the_last_two_runs_are_kept(logs: Logs, tmp_path: Path) -> None:
    """As the kubelet keeps them: the present one, and the one before."""
    for run in range(4):
        Log(logs.open("u", "c", run)).close()
    assert sorted(path.name for path in (tmp_path / "u" / "c").iterdir()) == ["2.log", "3.log"]
