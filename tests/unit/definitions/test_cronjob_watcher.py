"""`app.definitions.cronjob_watcher`: what is in force after each change that a watch brings."""

import logging
from typing import Any

import pytest

from app.definitions import cronjob_watcher
from app.definitions.cronjob_watcher import CronJobWatcher, Refusal
from app.definitions.registry import Registry
from app.kube.errors import ForbiddenError
from schemas.definition import Definition
from tests.unit.schemas.test_cronjobs import cronjob


class Watched:
    """A watcher whose events come from the test, in the way in which a reflector brings them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry = Registry({"configured": Definition("configured", "busybox:1")})
        self.lists = 0
        client: Any = _Client()
        self.watcher = CronJobWatcher(client, self.registry)
        self.changes = 0
        self.watcher.on_change = self._count_change
        monkeypatch.setattr(self.watcher.watch, "list_again", self._count_list)
        self._version = 0

    def _count_change(self) -> None:
        self.changes += 1

    def _count_list(self) -> None:
        self.lists += 1

    def stored(self, item: dict[str, Any], uid: str = "1") -> dict[str, Any]:
        """Return a CronJob as an API server has it."""
        self._version += 1
        item["metadata"] |= {"uid": uid, "resourceVersion": str(self._version)}
        return item

    def list(self, *items: dict[str, Any]) -> None:
        """Bring a list."""
        self.watcher.replace([self.watcher._read(self.stored(item)) for item in items], self._version)

    def put(self, item: dict[str, Any], uid: str = "1") -> None:
        """Bring a new or changed CronJob."""
        self.watcher.put(self.watcher._read(self.stored(item, uid)))

    def remove(self, item: dict[str, Any]) -> None:
        """Bring a deletion."""
        self.watcher.remove(self.watcher._read(self.stored(item)))

    def slots(self) -> dict[str, int]:
        """Return the slots of the definitions from CronJobs."""
        return {name: number for name, number in self.registry.slots().items() if name != "configured"}

    def refusals(self) -> dict[str, str]:
        """Return the reason of each refusal by the CronJob's name."""
        return {refusal.name: refusal.reason for refusal in self.watcher.refusals()}


class _Client:
    cronjobs = None


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def unrelated(name: str = "backup") -> dict[str, Any]:
    return cronjob(name, Job=None)


def faulty(name: str = "a") -> dict[str, Any]:
    return cronjob(name, NumberParallelJob="x")


def test_watcher__has_the_annotated_cronjobs_of_the_list(watched: Watched) -> None:
    watched.list(cronjob("b", NumberParallelJob="2"), unrelated(), cronjob("a"))
    assert watched.slots() == {"a": 1, "b": 2}
    assert (watched.watcher.state.status, watched.watcher.state.definitions, watched.changes) == ("Current", 2, 1)


def test_watcher__follows_changes(watched: Watched) -> None:
    watched.list()
    watched.put(cronjob("a"))
    watched.put(cronjob("a", NumberParallelJob="5"))
    assert watched.slots() == {"a": 5}
    watched.put(cronjob("a", Job=None))
    assert watched.slots() == {}
    watched.put(cronjob("a"))
    watched.remove(cronjob("a"))
    assert watched.slots() == {}


def test_watcher__does_nothing_where_nothing_differs(watched: Watched) -> None:
    """Other fields change, and other CronJobs of the namespace change all the time."""
    watched.list(cronjob("a"), unrelated())
    definition, before = watched.registry.get("a"), watched.changes
    watched.put(cronjob("a") | {"status": {"lastScheduleTime": "now"}})
    watched.put(unrelated() | {"status": {"lastScheduleTime": "now"}})
    watched.remove(unrelated())
    assert watched.registry.get("a") is definition
    assert watched.changes == before


def test_watcher__keeps_the_last_valid_version_of_a_faulty_cronjob(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.list(cronjob("a", NumberParallelJob="4"), cronjob("b"))
    with caplog.at_level(logging.ERROR):
        watched.put(faulty("a"))
        watched.put(faulty("a"))
    assert watched.slots() == {"a": 4, "b": 1}
    assert watched.refusals() == {"a": "DefinitionRefused"}
    assert watched.watcher.state.status == "Refused"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("the CronJob a is refused, its last valid version stays in force: /metadata/annotations/")
    watched.put(cronjob("a", NumberParallelJob="5"))
    assert (watched.slots()["a"], watched.refusals()) == (5, {})


def test_watcher__keeps_the_last_valid_version_over_a_new_list(watched: Watched) -> None:
    """A watch breaks, and everything is listed again."""
    watched.list(cronjob("a", NumberParallelJob="4"))
    watched.put(faulty("a"))
    watched.list(faulty("a"))
    assert watched.slots() == {"a": 4}
    watched.list()
    assert (watched.slots(), watched.refusals()) == ({}, {})


def test_watcher__has_no_definition_of_a_cronjob_that_was_never_valid(watched: Watched) -> None:
    watched.list(faulty("a"), cronjob("b"))
    assert watched.slots() == {"b": 1}
    assert (watched.watcher.state.definitions, watched.watcher.state.refused) == (1, 1)


def test_watcher__lets_no_fallback_answer_for_a_cronjob_that_was_never_valid(watched: Watched) -> None:
    watched.registry.replace({"default": Definition("default", "busybox:1")})
    watched.list(faulty("a"))
    assert watched.registry.fallback("a") is None
    watched.remove(faulty("a"))
    assert watched.registry.fallback("a") is not None


def test_watcher__does_not_keep_the_version_of_another_object_of_the_name(watched: Watched) -> None:
    """It was deleted and made again while the watch was broken."""
    watched.list(cronjob("a"))
    watched.put(faulty("a"), uid="2")
    assert watched.slots() == {}


@pytest.mark.parametrize("name", ["b", "configured"])
def test_watcher__tells_that_the_configuration_wins(watched: Watched, name: str) -> None:
    watched.list(cronjob("b"), cronjob("configured", NumberParallelJob="9"))
    assert watched.registry.get("configured").source == "Configuration"
    assert watched.refusals() == {"configured": "DefinitionOverridden"}
    watched.registry.replace({})
    assert watched.registry.get("configured").number_parallel_job == 9
    assert watched.refusals() == {}


def test_watcher__refuses_what_is_too_large_without_looking_at_it(watched: Watched) -> None:
    watched.list(cronjob("a"))
    watched.put(cronjob("a", DependsOn="x" * 200_000))
    (refusal,) = watched.watcher.refusals()
    assert (
        refusal.message == "(the whole document): larger than 131072 bytes, which a definition from a CronJob may have"
    )
    assert watched.slots() == {"a": 1}


def test_watcher__tells_at_most_what_an_event_has_room_for(watched: Watched) -> None:
    watched.list(cronjob("a", **{f"Unknown\n{number}": "x" for number in range(200)}))
    (refusal,) = watched.watcher.refusals()
    assert len(refusal.message) == 1024
    assert refusal.message.isprintable()


def test_watcher__leaves_out_what_has_no_room_and_reads_again_when_there_is_some(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.list(cronjob("a"))
    size_bytes = sum(watched.watcher._sizes.values())
    monkeypatch.setattr(cronjob_watcher, "MAX_TOTAL_BYTES", 2 * size_bytes)
    watched.list(cronjob("a"), cronjob("b"), cronjob("c"))
    assert watched.slots() == {"a": 1, "b": 1}
    assert watched.refusals() == {"c": "DefinitionRefused"}
    watched.put(unrelated("a"))
    assert watched.lists == 1
    watched.list(cronjob("b"), cronjob("c"))
    assert (watched.slots(), watched.refusals()) == ({"b": 1, "c": 1}, {})
    watched.remove(cronjob("b"))
    assert watched.lists == 1


def test_watcher__gives_back_the_room_of_a_refused_version(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.list(cronjob("a"))
    monkeypatch.setattr(cronjob_watcher, "MAX_TOTAL_BYTES", 4 * sum(watched.watcher._sizes.values()))
    watched.list(cronjob("a"), *(faulty(f"b{number}") for number in range(3)), cronjob("c"))
    assert watched.slots() == {"a": 1, "c": 1}


def test_watcher__goes_without_cronjobs_that_it_may_not_read(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.registry.await_cronjobs(True)
    with caplog.at_level(logging.INFO):
        watched.watcher._note_unreadable(ForbiddenError("cronjobs.batch is forbidden"))
        watched.watcher._note_unreadable(ForbiddenError("cronjobs.batch is forbidden"))
        assert (watched.watcher.state.status, watched.registry.awaits_cronjobs) == ("Unreadable", False)
        watched.list(cronjob("a"))
    assert (watched.watcher.state.status, watched.slots()) == ("Current", {"a": 1})
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in lines] == [
        "definitions from CronJobs can't be read, those read before stay in force",
        "the definitions from CronJobs can be read again",
        "the definitions from CronJobs have changed",
    ]


def test_refusals__are_new_for_another_version_with_the_same_fault(watched: Watched) -> None:
    """An Event is written once for each change."""

    def told(item: dict[str, Any]) -> Refusal:
        watched.put(item)
        (refusal,) = watched.watcher.refusals()
        return refusal

    watched.list()
    first = told(faulty("a"))
    assert told(faulty("a")) == first
    assert told(cronjob("a", NumberParallelJob="x", DependsOn="b")) != first
