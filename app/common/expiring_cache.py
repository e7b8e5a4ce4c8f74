"""A cache whose values expire."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_V]):
    until: float
    value: _V


class ExpiringCache(Generic[_K, _V]):
    """Keeps values for a short time. Not safe to share between threads without a lock.

    Args:
        seconds: how long a value is fresh.
        max_entries: how many values are kept; the oldest are dropped first. `None`: any number.
        clock: seconds that never go back.
    """

    def __init__(
        self, seconds: float, *, max_entries: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._max_entries = max_entries
        self._clock = clock
        self._entries: dict[_K, _Entry[_V]] = {}  # the oldest first

    def get(self, key: _K) -> _V | None:
        """Return the value of a key; `None`: there is none, or it has expired."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and entry.until > self._clock() else None

    def put(self, key: _K, value: _V) -> None:
        """Keep a value, fresh from now on."""
        self._entries.pop(key, None)
        while self._max_entries is not None and len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(self._clock() + self._seconds, value)

    def drop(self, key: _K) -> None:
        """Forget the value of a key, if there is one."""
        self._entries.pop(key, None)

    def drop_expired(self) -> None:
        """Free the memory of values that have expired."""
        now = self._clock()
        self._entries = {key: entry for key, entry in self._entries.items() if entry.until > now}

    def __len__(self) -> int:
        return len(self._entries)
