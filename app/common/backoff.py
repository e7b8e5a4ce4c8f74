"""Exponential backoff as a value."""

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt: twice as long after each failure in a row, up to a limit.

    A value is never changed. `next` returns the backoff after one more failure, `reset` the one after a success.

    Attributes:
        first_seconds: the wait after the first failure.
        last_seconds: the longest wait.
        seconds: the present wait; 0: nothing has failed.
        until: when the present wait ends, by the caller's clock; minus infinity: nothing has failed.
    """

    first_seconds: float
    last_seconds: float
    seconds: float = 0.0
    until: float = float("-inf")

    def next(self, now: float, at_least_seconds: float = 0.0) -> "Backoff":
        """Return the backoff after one more failure.

        Args:
            now: the caller's clock, in seconds.
            at_least_seconds: a minimum for this wait alone, such as a `Retry-After`. It may exceed `last_seconds`, and
                the following waits do not grow from it.
        """
        seconds = min(max(2 * self.seconds, self.first_seconds), self.last_seconds)
        return Backoff(self.first_seconds, self.last_seconds, seconds, now + max(seconds, at_least_seconds))

    def reset(self) -> "Backoff":
        """Return the backoff after a success: nothing has failed."""
        return Backoff(self.first_seconds, self.last_seconds)

    def seconds_left(self, now: float) -> float:
        """Return how long the present wait still lasts; 0: it is over."""
        return max(0.0, self.until - now)


def jittered(seconds: float) -> float:
    """Return a random time from half of these seconds to all of them.

    Clients that fail at the same moment then do not all come back at the same moment.
    """
    return seconds * secrets.SystemRandom().uniform(0.5, 1.0)
