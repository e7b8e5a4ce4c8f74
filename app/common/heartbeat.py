"""Whether threads still make progress: what tells a process that has to be restarted from one that only waits."""

import time
from collections.abc import Callable

SILENCE_SECONDS = 60.0
"""How long a thread may take from one beat to the next. There is a beat around every call to the API server, and each
of these has a deadline well below this, so that no outage looks like a defect of ours."""


class Heartbeat:
    """The beats of some threads. Safe to share between them.

    Args:
        clock: seconds that never go back, and stand still while the machine sleeps: nobody has to beat then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, float] = {}

    def beat(self, thread: str) -> None:
        """Record that this thread makes progress."""
        self._beats[thread] = self._clock()

    def rest(self, thread: str) -> None:
        """Record that this thread waits for work, for any time."""
        self._beats.pop(thread, None)

    def is_alive(self) -> bool:
        """Whether every thread that should beat has done so lately."""
        since = self._clock() - SILENCE_SECONDS
        return all(at >= since for at in list(self._beats.values()))
