"""The controllers' cache: own writes are known at once, old news changes nothing, nothing is missed."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from devcluster.controllers.cache import Cache
from devcluster.controllers.loop import Loop
from devcluster.kinds import CONFIG_MAP
from devcluster.objects import Object
from devcluster.store import Store
from tests.support.waiting import DEADLINE_SECONDS, until

T = TypeVar("T")


class World:
    """A store, and a cache that follows it on a loop of its own."""

    def __init__(self) -> None:
        self.store = Store(history_size=5)
        self.loop = Loop("test")
        self.cache = Cache(self.store, self.loop, [CONFIG_MAP])
        self.changes: list[tuple[str | None, str | None]] = []
        self.cache.subscribe(CONFIG_MAP, lambda old, new: self.changes.append((value(old), value(new))))

    def start(self) -> None:
        """Begin to follow."""
        self.loop.start()
        self.cache.start()

    def on_loop(self, call: Callable[[], T]) -> T:
        """Make a call where the controllers make theirs."""
        answers: list[T] = []
        done = threading.Event()

        def answer() -> None:
            answers.append(call())
            done.set()

        self.loop.post(answer)
        assert done.wait(DEADLINE_SECONDS)
        return answers[0]

    def find(self, name: str = "a") -> Object | None:
        """What the cache knows."""
        return self.on_loop(lambda: self.cache.find(CONFIG_MAP, "ns", name))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.cache.stop()
    made.loop.stop()


def config_map(text: str, name: str = "a", owner: str | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": "ns"}
    if owner:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "controller": True}
        metadata["ownerReferences"] = [reference]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": text}}


def value(obj: Object | None) -> str | None:
    return obj["data"]["v"] if obj else None


def put(text: str) -> Callable[[Object], Object]:
    return lambda current: {**current, "data": {"v": text}}


def test_it_knows_what_was_there_and_what_came_later(world: World) -> None:
    """A list first, then every change."""
    world.store.create(CONFIG_MAP, config_map("1"))
    world.start()
    world.store.update(CONFIG_MAP, "ns", "a", put("2"))
    until(lambda: value(world.find()) == "2")
    world.store.delete(CONFIG_MAP, "ns", "a")
    until(lambda: world.find() is None)
    assert world.changes == [(None, "1"), ("1", "2"), ("2", None)]


def test_an_own_write_is_known_when_it_returns(world: World) -> None:
    """A controller decides on nothing older than its own writes."""
    world.start()

    def write() -> list[str | None]:
        made = world.cache.create(CONFIG_MAP, config_map("1"))
        seen = [value(world.cache.find(CONFIG_MAP, "ns", "a"))]
        world.cache.update(CONFIG_MAP, made, put("2"))
        seen.append(value(world.cache.find(CONFIG_MAP, "ns", "a")))
        world.cache.delete(CONFIG_MAP, made)
        return [*seen, value(world.cache.find(CONFIG_MAP, "ns", "a"))]

    assert world.on_loop(write) == ["1", "2", None]


def test_what_the_watch_tells_late_changes_nothing(world: World) -> None:
    """Each own write is told once to the handlers, and a deleted object isn't revived by older news."""
    world.start()

    def write() -> None:
        made = world.cache.create(CONFIG_MAP, config_map("1"))
        world.cache.update(CONFIG_MAP, made, put("2"))
        world.cache.delete(CONFIG_MAP, made)

    world.on_loop(write)
    # The watch tells of all these changes before it tells of the next one.
    world.store.create(CONFIG_MAP, config_map("later", "b"))
    until(lambda: world.find("b") is not None)
    assert world.find("a") is None
    assert world.changes == [(None, "1"), ("1", "2"), ("2", None), (None, "later")]


def test_after_its_history_is_gone_it_lists_again(world: World) -> None:
    """410 Gone: nothing stays that is gone, nothing is missing that came."""
    for name in ("kept", "gone"):
        world.store.create(CONFIG_MAP, config_map("1", name))
    world.start()
    until(lambda: world.find("gone") is not None)
    with world.store._lock:  # the watch can't look in the meantime
        world.store.delete(CONFIG_MAP, "ns", "gone")
        for number in range(30):
            world.store.update(CONFIG_MAP, "ns", "kept", put(str(number)))
        world.store.create(CONFIG_MAP, config_map("1", "new"))
        world.store.compact()
    until(lambda: value(world.find("kept")) == "29")
    assert world.find("gone") is None
    assert world.find("new") is not None


def test_dependents_are_found_by_their_owners_uid(world: World) -> None:
    """And forgotten with the reference."""
    world.start()

    def write() -> list[int]:
        made = world.cache.create(CONFIG_MAP, config_map("1", owner="boss"))
        counts = [len(world.cache.dependents("boss"))]
        world.cache.update(
            CONFIG_MAP, made, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": []}}
        )
        return [*counts, len(world.cache.dependents("boss"))]

    assert world.on_loop(write) == [1, 0]
