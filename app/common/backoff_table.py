"""Backoffs of many things, by key."""

from collections.abc import Hashable
from dataclasses import replace
from typing import Generic, TypeVar

from app.common.backoff import Backoff

K = TypeVar("K", bound=Hashable)


class BackoffTable(Generic[K]):
    """Keeps one backoff for each key that has failed.

    It has no clock of its own: `now` is always the caller's, in seconds that never go back.

    Args:
        first_seconds: see `Backoff`.
        last_seconds: see `Backoff`.
    """

    def __init__(self, first_seconds: float, last_seconds: float) -> None:
        self._none = Backoff(first_seconds, last_seconds)
        self._backoffs: dict[K, Backoff] = {}

    def fail(self, key: K, now: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> float:
        """Record a failure; returns for how many seconds the key now waits.

        Args:
            key: what has failed.
            now: the present.
            at_least: a minimum for this wait alone, such as a `Retry-After`.
            at_most: a limit for this wait, where it is lower than the table's.
        """
        last = self._backoffs.get(key, self._none)
        bounded = replace(last, last_seconds=min(at_most, self._none.last_seconds)).next(now, at_least)
        self._backoffs[key] = bounded
        return bounded.seconds_left(now)

    def succeed(self, key: K) -> None:
        """Forget the failures of a key."""
        self._backoffs.pop(key, None)

    def keep(self, keys: set[K]) -> None:
        """Forget the failures of all other keys."""
        for key in self._backoffs.keys() - keys:
            del self._backoffs[key]

    def is_waiting(self, key: K, now: float) -> bool:
        """Whether the key's wait is not over yet."""
        backoff = self._backoffs.get(key)
        return backoff is not None and now < backoff.until

    def seconds_left(self, now: float) -> float:
        """How long until the next wait is over; infinite where there is none."""
        return min((one.until - now for one in self._backoffs.values() if one.until > now), default=float("inf"))
