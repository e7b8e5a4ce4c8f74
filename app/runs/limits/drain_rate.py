"""How fast runs leave a queue, and so when a caller of a full queue may try again (`Retry-After`)."""

import math
from collections import deque

_WINDOW_SECONDS = 60.0
"""Departures from a queue count for this long."""

_LONGEST_RETRY_SECONDS = 300


class DrainRate:
    """How fast runs leave a queue.

    Args:
        since: when the queue was first looked at, by a clock that never goes back, in seconds.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        # More than one departure a second does not change the result, so no more are remembered.
        self._departures: deque[float] = deque(maxlen=int(_WINDOW_SECONDS))

    def note(self, now: float) -> None:
        """Count a run that has left."""
        self._departures.append(now)

    def retry_after_seconds(self, now: float) -> int:
        """Return the time in which about one run leaves, from 1 to 300 seconds."""
        recent = sum(now - departure <= _WINDOW_SECONDS for departure in self._departures)
        if recent:
            seconds = min(_WINDOW_SECONDS, now - self._since) / recent
        else:
            seconds = now - (self._departures[-1] if self._departures else self._since)
        return max(1, min(math.ceil(seconds), _LONGEST_RETRY_SECONDS))
