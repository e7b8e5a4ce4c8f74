"""How long something is left alone that fails, longer with each failure in a row."""

from dataclasses import dataclass

from app.kube.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which something is not tried.

    Attributes:
        first_seconds: how long the first one is.
        last_seconds: how long they become at most.
        seconds: how long this one is; 0: there is none.
        until: when it ends, by the clock of whoever keeps it.
    """

    first_seconds: float
    last_seconds: float
    seconds: float = 0.0
    until: float = float("-inf")

    def longer(self, now: float, error: ClusterError) -> "Pause":
        """The next one, after another failure; it ends no sooner than the API server asks for."""
        seconds = min(max(2 * self.seconds, self.first_seconds), self.last_seconds)
        until = now + max(seconds, error.retry_after_seconds or 0)
        return Pause(self.first_seconds, self.last_seconds, seconds, until)
