"""The stored objects of one kind, and their recent changes. Not thread-safe: the store's lock guards it."""

import threading
from bisect import bisect_left, insort

from devcluster.history import History
from devcluster.objects import Object


class ResourceStore:
    """The objects by key, their sorted keys, their history, and the condition on which watches wait."""

    def __init__(self, lock: threading.RLock, history_size: int) -> None:
        self.objects: dict[str, Object] = {}
        self.history = History(history_size)
        self.changed = threading.Condition(lock)
        self._keys: list[str] = []

    def put(self, key: str, obj: Object) -> None:
        """Store an object's state."""
        if key not in self.objects:
            insort(self._keys, key)
        self.objects[key] = obj

    def remove(self, key: str) -> None:
        """Remove an object."""
        del self.objects[key]
        del self._keys[bisect_left(self._keys, key)]

    def list(self, namespace: str | None, revision: int | None) -> list[Object]:
        """Return the objects, sorted by key.

        Args:
            namespace: None for all.
            revision: A past revision; None for the present.

        Raises:
            ApiError: 410, changes since that revision have been dropped.
        """
        if revision is None:
            source, keys = self.objects, self._keys
        else:
            source = dict(self.objects)
            self.history.rewind(source, revision)
            keys = sorted(source)
        if namespace is not None:
            keys = keys[bisect_left(keys, f"{namespace}/") : bisect_left(keys, f"{namespace}0")]
        return [source[key] for key in keys]
