"""The controllers' cache: it contains own writes at once, ignores older events, and misses no change."""

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
    """A store, and a cache that follows it on its own loop."""

    def __init__(self) -> None:
        self.store = Store(history_size=5)
        self.loop = Loop("test")
        self.cache = Cache(self.store, self.loop, [CONFIG_MAP])
        self.changes: list[tuple[str | None, str | None]] = []
        self.cache.subscribe(CONFIG_MAP, lambda old, new: self.changes.append((value(old), value(new))))

    def start(self) -> None:
        """Start the cache."""
        self.loop.start()
        self.cache.start()

    def on_loop(self, call: Callable[[], T]) -> T:
        """Make a call on the loop, as the controllers do, and return its result."""
        results: list[T] = []
        done = threading.Event()

        def compute() -> None:
            results.append(call())
            done.set()

        self.loop.post(compute)
        assert done.wait(DEADLINE_SECONDS)
        return results[0]

    def find(self, name: str = "a") -> Object | None:
        """Return the cached ConfigMap; None when there is none."""
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


def test_cache__contains_existing_and_later_objects(world: World) -> None:
    world.store.create(CONFIG_MAP, config_map("1"))
    world.start()
    world.store.update(CONFIG_MAP, "ns", "a", put("2"))
    until(lambda: value(world.find()) == "2")
    world.store.delete(CONFIG_MAP, "ns", "a")
    until(lambda: world.find() is None)
    assert world.changes == [(None, "1"), ("1", "2"), ("2", None)]


def test_cache__contains_own_write_when_the_call_returns(world: World) -> None:
    world.start()

    def write() -> list[str | None]:
        made = world.cache.create(CONFIG_MAP, config_map("1"))
        seen = [value(world.cache.find(CONFIG_MAP, "ns", "a"))]
        world.cache.update(CONFIG_MAP, made, put("2"))
        seen.append(value(world.cache.find(CONFIG_MAP, "ns", "a")))
        world.cache.delete(CONFIG_MAP, made)
        return [*seen, value(world.cache.find(CONFIG_MAP, "ns", "a"))]

    assert world.on_loop(write) == ["1", "2", None]


def test_cache__ignores_events_older_than_own_writes(world: World) -> None:
    """Each own write is reported to the handlers once, and an older event does not bring a deleted object back."""
    world.start()

    def write() -> None:
        made = world.cache.create(CONFIG_MAP, config_map("1"))
        world.cache.update(CONFIG_MAP, made, put("2"))
        world.cache.delete(CONFIG_MAP, made)

    world.on_loop(write)
    # The watch delivers all these changes before the next one.
    world.store.create(CONFIG_MAP, config_map("later", "b"))
    until(lambda: world.find("b") is not None)
    assert world.find("a") is None
    assert world.changes == [(None, "1"), ("1", "2"), ("2", None), (None, "later")]


def test_cache__lists_again_after_410_gone(world: World) -> None:
    """Deleted objects are removed, and new ones are added."""
    for name in ("kept", "gone"):
        world.store.create(CONFIG_MAP, config_map("1", name))
    world.start()
    until(lambda: world.find("gone") is not None)
    with world.store._lock:  # the watch cannot read in the meantime
        world.store.delete(CONFIG_MAP, "ns", "gone")
        for number in range(30):
            world.store.update(CONFIG_MAP, "ns", "kept", put(str(number)))
        world.store.create(CONFIG_MAP, config_map("1", "new"))
        world.store.compact()
    until(lambda: value(world.find("kept")) == "29")
    assert world.find("gone") is None
    assert world.find("new") is not None


def test_dependents__follow_the_owner_references(world: World) -> None:
    world.start()

    def write() -> list[int]:
        made = world.cache.create(CONFIG_MAP, config_map("1", owner="boss"))
        counts = [len(world.cache.dependents("boss"))]
        world.cache.update(
            CONFIG_MAP, made, lambda obj: {**obj, "metadata": {**obj["metadata"], "ownerReferences": []}}
        )
        return [*counts, len(world.cache.dependents("boss"))]

    assert world.on_loop(write) == [1, 0]
