"""A bounded history of changes; it serves watches and lists at an earlier revision."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from devcluster.errors import ApiError, expired
from devcluster.objects import Object

WatchEventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change of one object.

    `object` is the state after the change (for DELETED: the last state, with the deletion's resourceVersion);
    `previous` is the state before the change, None for ADDED.
    """

    type: WatchEventType
    object: Object
    revision: int
    key: str
    previous: Object | None = None


class History:
    """The changes of one kind, oldest first. Not thread-safe: the store's lock guards it.

    It keeps between `capacity` and twice `capacity` changes: dropping them in bulk keeps the cost of a write constant.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._events: list[WatchEvent] = []
        self._revisions: list[int] = []
        self._forgotten_revision = 0  # of the newest dropped change

    def append(self, event: WatchEvent) -> None:
        """Add a change."""
        self._events.append(event)
        self._revisions.append(event.revision)
        if len(self._events) >= 2 * self._capacity:
            self._forget(self._capacity)

    def since(self, revision: int) -> list[WatchEvent]:
        """Return the changes after a revision.

        Raises:
            ApiError: 410, some of them have been dropped.
        """
        if revision < self._forgotten_revision:
            raise self._expired(revision)
        first = bisect_right(self._revisions, revision)
        return self._events[first:]

    def rewind(self, objects: dict[str, Object], revision: int) -> None:
        """Turn the current objects, by key, into those of an earlier revision, in place.

        Raises:
            ApiError: 410, changes since that revision have been dropped.
        """
        for event in reversed(self.since(revision)):
            if event.previous is None:
                objects.pop(event.key, None)
            else:
                objects[event.key] = event.previous

    def compact(self, revision: int) -> None:
        """Drop every change up to `revision`, the store's current one."""
        self._forget(len(self._events))
        self._forgotten_revision = revision

    def _forget(self, count: int) -> None:
        if count:
            self._forgotten_revision = self._revisions[count - 1]
            del self._events[:count]
            del self._revisions[:count]

    def _expired(self, revision: int) -> ApiError:
        return expired(f"too old resource version: {revision} ({self._forgotten_revision})")


Matcher = Callable[[Object], bool]
