"""Following the job configuration's file: a valid change is in force at once, a faulty one changes the state only."""

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
    """A watcher whose file is read when a test says so, and the number of changes that it has reported."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.volume = MountedConfigMap(folder / "volume", document)
        self.clock = Clock()
        self.configuration = ConfigWatcher(json.dumps(document), self.volume.file, clock=self.clock)
        self.changes = 0
        self.configuration.on_change = self._count

    def _count(self) -> None:
        self.changes += 1

    def reload(self) -> dict[str, int]:
        """Read the file once, and return the slots in force after that."""
        self.configuration.reload(self.volume.file)
        return dict(self.configuration.registry.slots())


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path, configured(a=1))


def test_reload__does_nothing_where_the_content_is_the_same(followed: Followed) -> None:
    """The volume is written again, with the same content."""
    followed.volume.write(configured(a=1))
    assert followed.reload() == {"a": 1}
    assert followed.changes == 0
    assert followed.configuration.state.loads == 1


def test_reload__puts_a_valid_change_in_force_as_a_whole(followed: Followed) -> None:
    """New definitions are there, removed ones are gone, others have their new values. Each change is reported once."""
    followed.clock.now += 60
    followed.volume.write(configured(a=5, b=2))
    assert followed.reload() == {"a": 5, "b": 2}
    followed.volume.write(configured(b=3))
    assert followed.reload() == {"b": 3}
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
def test_reload__keeps_the_last_valid_configuration_where_the_change_is_faulty(
    followed: Followed, document: str
) -> None:
    followed.volume.write(document)
    assert followed.reload() == {"a": 1}
    assert followed.configuration.state.faults
    assert followed.configuration.state.refusals == 1
    assert followed.reload() == {"a": 1}
    assert followed.configuration.state.refusals == 1, "the same fault counts once"
    assert followed.changes == 0
    followed.volume.write(configured(a=2))
    assert followed.reload() == {"a": 2}
    assert followed.configuration.state.faults == ()


def test_reload__drops_the_faults_where_a_faulty_change_is_undone(followed: Followed) -> None:
    """The file holds the configuration in force again: nothing has changed."""
    followed.volume.write("{")
    followed.reload()
    followed.volume.write(configured(a=1))
    assert followed.reload() == {"a": 1}
    assert followed.configuration.state.faults == ()
    assert followed.changes == 0


def test_reload__keeps_the_last_valid_configuration_where_the_file_is_unreadable(followed: Followed) -> None:
    """The file is gone, a folder, no text, or too large. Each is counted once."""
    target = followed.volume.file.resolve()
    for spoil in (
        target.unlink,
        target.mkdir,
        lambda: (target.rmdir(), target.write_bytes(b'{"\xff": 1}')),
        lambda: target.write_text(" " * (2 * 1024 * 1024 + 1)),
    ):
        refusals = followed.configuration.state.refusals
        spoil()
        assert followed.reload() == {"a": 1}
        followed.reload()
        assert followed.configuration.state.refusals == refusals + 1
        [fault] = followed.configuration.state.faults
        assert fault.pointer == ""
    target.write_text(json.dumps(configured(a=9)))
    assert followed.reload() == {"a": 9}


def test_reload__notices_a_change_that_keeps_size_and_times(followed: Followed) -> None:
    """The file is written in place, as long as before and with its old times."""
    target = followed.volume.file.resolve()
    before = target.stat()
    target.write_text(json.dumps(configured(a=7)))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert target.stat().st_size == before.st_size
    assert followed.reload() == {"a": 7}


def test_reload__waits_for_the_whole_file_where_it_is_written_in_place(followed: Followed) -> None:
    whole = json.dumps(configured(a=3))
    for end in range(0, len(whole), 7):
        followed.volume.write(whole[:end])
        assert followed.reload() == {"a": 1}
    followed.volume.write(whole)
    assert followed.reload() == {"a": 3}


def test_log__names_each_fault_once_and_quotes_no_value(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """A value may be a secret."""
    entry = {"Image": "busybox:1", "Environments": [{"Name": "TOKEN", "Value": "s3cret", "Wrong": "s3cret"}]}
    followed.volume.write({"Configurations": {"a": entry}})
    with caplog.at_level(logging.INFO):
        followed.reload()
        followed.reload()
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "/Configurations/a/Environments/0/Wrong" in record.getMessage()
    assert "s3cret" not in record.getMessage()


def test_log__has_the_first_of_very_many_faults(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    followed.volume.write({"Configurations": {f"d{number}": {} for number in range(500)}})
    followed.reload()
    [record] = caplog.records
    assert "and 480 more" in record.getMessage()
    assert len(followed.configuration.state.faults) == 500


def test_log__cuts_a_long_fault_and_keeps_it_on_one_line(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """A name in the document must not be able to start a line of the log."""
    followed.volume.write({"Configurations": {"x\n2026 INFO all is well" + "y" * 10_000: {}}})
    followed.reload()
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 2000


def test_start__does_not_follow_a_pipe(tmp_path: Path) -> None:
    """Reading it again would wait for a writer for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    configuration = ConfigWatcher(json.dumps(configured(a=1)), pipe)
    configuration.start()
    configuration.stop()
    assert configuration.registry.slots() == {"a": 1}


def test_start__follows_nothing_without_a_file() -> None:
    configuration = ConfigWatcher(json.dumps(configured(a=1)))
    configuration.start()
    configuration.stop()
    assert configuration.state.loads == 1


def test_config_watcher__refuses_a_faulty_first_configuration() -> None:
    """There is no earlier one to fall back to."""
    with pytest.raises(Refused):
        ConfigWatcher("{}")


def test_start__restores_what_another_process_put_in_force_where_the_file_is_faulty(followed: Followed) -> None:
    """A worker that starts while the file is faulty serves what the other workers serve."""
    parent = ConfigWatcher(json.dumps(configured(a=1)), followed.volume.file)
    child = os.fork()
    if child == 0:
        followed.volume.write(configured(a=2))
        parent.reload(followed.volume.file)
        os._exit(parent.registry.slots() != {"a": 2})
    assert os.waitpid(child, 0)[1] == 0
    assert parent.registry.slots() == {"a": 1}
    followed.volume.write("{")
    parent.start()
    parent.stop()
    assert parent.registry.slots() == {"a": 2}
    assert parent.state.faults


def test_start__ignores_a_saved_document_that_is_cut_off(followed: Followed) -> None:
    """A process that is killed while it saves a document leaves the beginning of it."""
    watcher = ConfigWatcher(json.dumps(configured(a=1)), followed.volume.file)
    watcher._last_valid.save(json.dumps(configured(a=2))[:-5])
    followed.volume.write("{")
    watcher.start()
    watcher.stop()
    assert watcher.registry.slots() == {"a": 1}


def test_last_valid_configuration__returns_the_document_saved_last() -> None:
    last_valid = LastValidConfiguration()
    assert last_valid.load() is None
    last_valid.save("longer than the next")
    last_valid.save("short")
    assert last_valid.load() == "short"


def test_last_valid_configuration__returns_whole_documents_while_processes_save_and_are_killed() -> None:
    """Three processes save documents all the time. Only what a killed process has left may be cut off."""
    last_valid = LastValidConfiguration()
    documents = {letter * 100_000 for letter in "abc"}
    children = []
    for document in sorted(documents):
        if (child := os.fork()) == 0:
            while True:
                last_valid.save(document)
        children.append(child)
    try:
        deadline = time.monotonic() + 30
        seen: set[str | None] = set()
        while not seen & documents and time.monotonic() < deadline:  # the children may take their time to begin
            seen.add(last_valid.load())
        seen |= {last_valid.load() for _ in range(300)}
        os.kill(children[0], signal.SIGKILL)
        later = {last_valid.load() for _ in range(100)}
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert seen & documents
    assert seen - {None} <= documents
    cut_off = {document for document in later - documents if document is not None}
    assert all("a" * len(document) == document for document in cut_off), "no document is a mixture of two"


def test_read_document__returns_any_text_and_quotes_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text('{"é": "\u2028"}', "utf-8")
    assert read_document(file) == '{"é": "\u2028"}'
    file.write_bytes(b"secret\xff")
    with pytest.raises(UnreadableError) as error:
        read_document(file)
    assert "secret" not in str(error.value)
