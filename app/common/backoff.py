"""Growing pauses: how long something is left alone that fails."""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class _Pause(NamedTuple):
    seconds: float
    until: float


class Backoff(Generic[K]):
    """Pauses by key, each twice as long as the one before it.

    It has no clock of its own: `now` is always its reader's, in seconds that never go back.

    Args:
        first_seconds: how long the first pause is.
        last_seconds: how long pauses become at most.
    """

    def __init__(self, first_seconds: float, last_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._last_seconds = last_seconds
        self._pauses: dict[K, _Pause] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._pauses

    def fail(self, key: K, now: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> float:
        """Begin a pause; returns its seconds.

        Args:
            key: what has failed.
            now: the present.
            at_least: what the API server asks for; it does not make the next pause longer.
            at_most: a bound for this pause.
        """
        last = self._pauses.get(key)
        seconds = self._first_seconds if last is None else min(2 * last.seconds, self._last_seconds)
        seconds = min(seconds, at_most)
        self._pauses[key] = _Pause(seconds, now + max(seconds, at_least))
        return max(seconds, at_least)

    def succeed(self, key: K) -> None:
        """Forget the pauses of a key."""
        self._pauses.pop(key, None)

    def keep(self, keys: set[K]) -> None:
        """Forget the pauses of all other keys."""
        for key in self._pauses.keys() - keys:
            del self._pauses[key]

    def is_pausing(self, key: K, now: float) -> bool:
        """Whether its pause is not over yet."""
        pause = self._pauses.get(key)
        return pause is not None and now < pause.until

    def seconds_left(self, now: float) -> float:
        """How long until the next pause is over; infinite where there is none."""
        return min((pause.until - now for pause in self._pauses.values() if pause.until > now), default=float("inf"))
