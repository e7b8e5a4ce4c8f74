"""Following the job configuration's file: what is good is in force at once, what isn't changes the state alone."""

import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from app.definitions.config_watcher import ConfigWatcher
from app.definitions.last_valid_configuration import LastValidConfiguration
from app.definitions.registry import UnknownDefinitionError
from schemas.faults import Refused
from schemas.files import UnreadableError, read_document
from tests.support.clock import Clock
from tests.support.mounted import MountedConfigMap


def configured(**slots: int) -> dict[str, Any]:
    """A configuration with these definitions."""
    entries = {name: {"Image": "busybox:1", "NumberParallelJob": number} for name, number in slots.items()}
    return {"Configurations": entries}


class Followed:
    """A configuration that is looked at by hand, and how often it has said that something has changed."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.volume = MountedConfigMap(folder / "volume", document)
        self.clock = Clock()
        self.configuration = ConfigWatcher(json.dumps(document), self.volume.file, clock=self.clock)
        self.changes = 0
        self.configuration.on_change = self._count

    def _count(self) -> None:
        self.changes += 1

    def look(self) -> dict[str, int]:
        """Look once; the slots in force after that."""
        self.configuration.look()
        return dict(self.configuration.registry.slots())


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path, configured(a=1))


def test_what_has_not_changed_is_left_alone(followed: Followed) -> None:
    """Looking is no change, however often, nor is a volume that is written anew with the same content."""
    followed.volume.write(configured(a=1))
    assert followed.look() == {"a": 1}
    assert followed.changes == 0
    assert followed.configuration.state.loads == 1


def test_a_good_change_is_in_force_at_once_and_as_a_whole(followed: Followed) -> None:
    """New definitions are there, removed ones are gone, others have their new values; whoever asked is told once."""
    followed.clock.now += 60
    followed.volume.write(configured(a=5, b=2))
    assert followed.look() == {"a": 5, "b": 2}
    followed.volume.write(configured(b=3))
    assert followed.look() == {"b": 3}
    with pytest.raises(UnknownDefinitionError):
        followed.configuration.registry.get("a")
    assert [definition.name for definition in followed.configuration.registry.all()] == ["b"]
    assert followed.changes == 2
    state = followed.configuration.state
    assert (state.loaded_at, state.loads, state.refusals, state.faults) == (1060.0, 3, 0, ())


FAULTY = [
    "",
    "{",
    "[]",
    '{"Configurations": {"a": {}}}',
    '{"Configurations": {"a": {"Image": "busybox:1", "NumberParallelJob": 0}, "b": {"Imgae": "x"}}}',
    '{"Configurations": {"a": {"Image": "busybox:1"}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("document", FAULTY, ids=lambda document: document[:40])
def test_a_faulty_change_changes_nothing_but_the_state(followed: Followed, document: str) -> None:
    """The last good configuration stays, also when faults follow one another, until there is another good one."""
    followed.volume.write(document)
    assert followed.look() == {"a": 1}
    assert followed.configuration.state.faults
    assert followed.configuration.state.refusals == 1
    assert followed.look() == {"a": 1}
    assert followed.configuration.state.refusals == 1, "the same fault counts once"
    assert followed.changes == 0
    followed.volume.write(configured(a=2))
    assert followed.look() == {"a": 2}
    assert followed.configuration.state.faults == ()


def test_a_faulty_change_that_is_taken_back_leaves_no_trace(followed: Followed) -> None:
    """What is configured is what is in force again; nothing has changed meanwhile."""
    followed.volume.write("{")
    followed.look()
    followed.volume.write(configured(a=1))
    assert followed.look() == {"a": 1}
    assert followed.configuration.state.faults == ()
    assert followed.changes == 0


def test_a_file_that_cannot_be_read_changes_nothing(followed: Followed) -> None:
    """Gone, a folder, no text, or far too large: each is a fault like any other, and said once."""
    target = followed.volume.file.resolve()
    for spoil in (
        target.unlink,
        target.mkdir,
        lambda: (target.rmdir(), target.write_bytes(b'{"\xff": 1}')),
        lambda: target.write_text(" " * (2 * 1024 * 1024 + 1)),
    ):
        refusals = followed.configuration.state.refusals
        spoil()
        assert followed.look() == {"a": 1}
        followed.look()
        assert followed.configuration.state.refusals == refusals + 1
        [fault] = followed.configuration.state.faults
        assert fault.pointer == ""
    target.write_text(json.dumps(configured(a=9)))
    assert followed.look() == {"a": 9}


def test_a_change_that_the_file_system_does_not_show_is_noticed(followed: Followed) -> None:
    """As long, written in place, with its old times: only the content tells."""
    target = followed.volume.file.resolve()
    before = target.stat()
    target.write_text(json.dumps(configured(a=7)))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert target.stat().st_size == before.st_size
    assert followed.look() == {"a": 7}


def test_a_file_that_is_half_written_is_taken_up_once_it_is_whole(followed: Followed) -> None:
    """Whoever writes in place is read in the middle one day."""
    whole = json.dumps(configured(a=3))
    for end in range(0, len(whole), 7):
        followed.volume.write(whole[:end])
        assert followed.look() == {"a": 1}
    followed.volume.write(whole)
    assert followed.look() == {"a": 3}


def test_the_log_names_what_is_wrong_and_quotes_nothing(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """A pointer and a rule for each fault, once; a value may be a secret."""
    entry = {"Image": "busybox:1", "Environments": [{"Name": "TOKEN", "Value": "s3cret", "Wrong": "s3cret"}]}
    followed.volume.write({"Configurations": {"a": entry}})
    with caplog.at_level(logging.INFO):
        followed.look()
        followed.look()
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "/Configurations/a/Environments/0/Wrong" in record.getMessage()
    assert "s3cret" not in record.getMessage()


def test_of_very_many_faults_the_log_tells_some(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """One line stays readable."""
    followed.volume.write({"Configurations": {f"d{number}": {} for number in range(500)}})
    followed.look()
    [record] = caplog.records
    assert "and 480 more" in record.getMessage()
    assert len(followed.configuration.state.faults) == 500


def test_a_fault_is_told_on_one_line_of_a_length(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """A name in the document is no way to write lines of one's own into the log."""
    followed.volume.write({"Configurations": {"x\n2026 INFO all is well" + "y" * 10_000: {}}})
    followed.look()
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 2000


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """Following it would wait for a writer for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    configuration = ConfigWatcher(json.dumps(configured(a=1)), pipe)
    configuration.start()
    configuration.stop()
    assert configuration.registry.slots() == {"a": 1}


def test_without_a_file_nothing_is_followed() -> None:
    """A configuration from the environment is what it is; starting and stopping does nothing."""
    configuration = ConfigWatcher(json.dumps(configured(a=1)))
    configuration.start()
    configuration.stop()
    assert configuration.state.loads == 1


def test_a_process_does_not_start_with_faults() -> None:
    """The first configuration has no earlier one to fall back to."""
    with pytest.raises(Refused):
        ConfigWatcher("{}")


def test_a_later_process_goes_on_from_the_last_good_one(followed: Followed) -> None:
    """A worker that is started anew while the file is faulty serves what its siblings serve."""
    parent = ConfigWatcher(json.dumps(configured(a=1)), followed.volume.file)
    child = os.fork()
    if child == 0:
        followed.volume.write(configured(a=2))
        parent.look()
        os._exit(parent.registry.slots() != {"a": 2})
    assert os.waitpid(child, 0)[1] == 0
    assert parent.registry.slots() == {"a": 1}
    followed.volume.write("{")
    parent.start()
    parent.stop()
    assert parent.registry.slots() == {"a": 2}
    assert parent.state.faults


def test_what_was_torn_is_not_recalled() -> None:
    """A process that was killed while it kept something leaves nothing that could be taken for a configuration."""
    last_good = LastValidConfiguration()
    assert last_good.recall() is None
    last_good.keep("{}")
    assert last_good.recall() == "{}"
    os.ftruncate(last_good._file, 33)
    assert last_good.recall() is None
    last_good.keep("longer than before")
    last_good.keep("short")
    assert last_good.recall() == "short"


def test_the_last_good_one_is_whole_whoever_writes_and_whoever_is_killed() -> None:
    """Several processes keep documents all the time; each read is one of them as a whole, or none."""
    last_good = LastValidConfiguration()
    documents = {letter * 100_000 for letter in "abc"}
    children = []
    for document in sorted(documents):
        if (child := os.fork()) == 0:
            while True:
                last_good.keep(document)
        children.append(child)
    try:
        deadline = time.monotonic() + 30
        seen: set[str | None] = set()
        while not seen & documents and time.monotonic() < deadline:  # the children may take their time to begin
            seen.add(last_good.recall())
        seen |= {last_good.recall() for _ in range(300)}
        os.kill(children[0], signal.SIGKILL)
        seen |= {last_good.recall() for _ in range(100)}
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert seen - {None} <= documents
    assert seen & documents


def test_a_document_is_read_as_it_is(tmp_path: Path) -> None:
    """Text with whatever characters; what isn't text is refused without being quoted."""
    file = tmp_path / "jobs.json"
    file.write_text('{"é": "\u2028"}', "utf-8")
    assert read_document(file) == '{"é": "\u2028"}'
    file.write_bytes(b"secret\xff")
    with pytest.raises(UnreadableError) as error:
        read_document(file)
    assert "secret" not in str(error.value)
