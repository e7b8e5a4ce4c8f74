"""One watch of a collection that feeds several stores, so that each of its events is parsed once."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from app.common.types import Json
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.kube.paging import ResourceSelector
from app.kube.reflector import SILENCE_SECONDS, Reflector, Store

T = TypeVar("T")


class Follower(Generic[T]):
    """A store that a shared watch feeds.

    Args:
        read: makes a record of an object.
        store: to be kept equal to the collection.
        on_life: see `Reflector`.
        on_break: see `Reflector`.
        on_refused: see `Reflector`; called only where the watch itself has one.
    """

    def __init__(
        self,
        read: Callable[[Json], T],
        store: Store[T],
        *,
        on_life: Callable[[], None] = lambda: None,
        on_break: Callable[[], None] = lambda: None,
        on_refused: Callable[[ClusterError], None] = lambda _error: None,
    ) -> None:
        self.read = read
        self.store = store
        self.on_life = on_life
        self.on_break = on_break
        self.on_refused = on_refused


class SharedWatch:
    """A watch that is open for as long as it has followers. Safe to share between threads.

    A follower gets a list that was begun after it joined. So the watch begins anew with each new follower, and to the
    others that is a break.

    Args:
        client: of the namespace.
        collection: what to list and watch.
        name: of the collection, for logs and metrics.
        silence_seconds: see `Reflector`.
        on_refused: see `Reflector`.
    """

    def __init__(
        self,
        client: NamespacedClient,
        collection: ResourceSelector,
        *,
        name: str,
        silence_seconds: float = SILENCE_SECONDS,
        on_refused: Callable[[ClusterError], None] | None = None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._name = name
        self._silence_seconds = silence_seconds
        self._on_refused = on_refused
        self._lock = threading.RLock()
        self._feed: _Feed | None = None

    def join(self, follower: Follower[Any]) -> None:
        """Keep a follower's store equal to the collection; returns at once."""
        with self._lock:
            others = self._feed.followers if self._feed else ()
            self._begin((*others, follower))
        for other in others:
            other.on_break()

    def list_again(self) -> None:
        """Fill the followers' stores from a new list; returns at once. To the followers that is no break."""
        with self._lock:
            if self._feed is not None:
                self._begin(self._feed.followers)

    def _begin(self, followers: tuple[Follower[Any], ...]) -> None:
        if self._feed is not None:
            self._feed.end()
        self._feed = _Feed(followers, self._lock)
        self._feed.start(self._client, self._collection, self._name, self._silence_seconds, self._on_refused)

    def leave(self, follower: Follower[Any]) -> None:
        """Pass nothing more to a follower; returns at once. The watch ends with its last follower."""
        with self._lock:
            if self._feed is None:
                return
            self._feed.leave(follower)
            if not self._feed.followers:
                self._feed.end()
                self._feed = None

    def is_synced(self, follower: Follower[Any]) -> bool:
        """Return whether a follower's store is up to date: see `Reflector.synced`."""
        feed = self._feed
        return feed is not None and follower in feed.followers and feed.is_synced()


class _Feed:
    """The store of the reflector: passes what it gets to the followers. A record of it has one record for each of them.

    Args:
        followers: for as long as this feed lasts, no others join.
        lock: held while anything is passed on, so that nothing is after a follower has left, or this feed has ended.
    """

    def __init__(self, followers: tuple[Follower[Any], ...], lock: threading.RLock) -> None:
        self.followers = followers
        self._columns = list(enumerate(followers))
        self._lock = lock
        self._reflector: Reflector[list[Any]] | None = None

    def start(
        self,
        client: NamespacedClient,
        collection: ResourceSelector,
        name: str,
        silence_seconds: float,
        on_refused: Callable[[ClusterError], None] | None,
    ) -> None:
        """Start the reflector."""
        self._reflector = Reflector(
            client,
            collection,
            self._read,
            self,
            name=name,
            silence_seconds=silence_seconds,
            on_life=self._on_life,
            on_break=self._on_break,
            on_refused=None if on_refused is None else partial(self._pass_on_refusal, on_refused),
        )
        self._reflector.start()

    def is_synced(self) -> bool:
        """Whether what was passed on is up to date."""
        return self._reflector is not None and self._reflector.synced.is_set()

    def leave(self, follower: Follower[Any]) -> None:
        """Pass nothing more to a follower."""
        self.followers = tuple(other for other in self.followers if other is not follower)
        self._columns = [(column, other) for column, other in self._columns if other is not follower]

    def end(self) -> None:
        """Pass nothing more to anybody, and end the watch."""
        self._columns = []
        if self._reflector is not None:
            self._reflector.stop()

    def replace(self, records: list[list[Any]], version: int) -> None:
        """Fill the followers' stores."""
        with self._lock:
            for column, follower in self._columns:
                follower.store.replace([record[column] for record in records], version)

    def put(self, record: list[Any]) -> None:
        """Pass on an object that is new or has changed."""
        with self._lock:
            for column, follower in self._columns:
                follower.store.put(record[column])

    def remove(self, record: list[Any]) -> None:
        """Pass on that an object is gone."""
        with self._lock:
            for column, follower in self._columns:
                follower.store.remove(record[column])

    def _read(self, item: Json) -> list[Any]:
        records: list[Any] = [None] * (1 + max((column for column, _ in self._columns), default=-1))
        for column, follower in self._columns:
            records[column] = follower.read(item)
        return records

    def _on_life(self) -> None:
        with self._lock:
            followers = self.followers
        for follower in followers:
            follower.on_life()

    def _pass_on_refusal(self, on_refused: Callable[[ClusterError], None], error: ClusterError) -> None:
        on_refused(error)
        with self._lock:
            for _, follower in self._columns:
                follower.on_refused(error)

    def _on_break(self) -> None:
        with self._lock:
            followers = self.followers if self._columns else ()
        for follower in followers:
            follower.on_break()
