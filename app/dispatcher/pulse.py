"""Whether threads still get on: what tells a process that has to be restarted from one that only waits."""

import time
from collections.abc import Callable

from app.kube.transport import CALL_SECONDS

SILENCE_SECONDS = 60.0
"""How long a thread may take from one beat to the next: there is one around every call, or every other."""

assert SILENCE_SECONDS > 4 * CALL_SECONDS  # so that no outage of the API server looks like a defect of ours


class Pulse:
    """The beats of some threads.

    Args:
        clock: seconds that never go back, and stand still while the machine sleeps: nobody has to beat then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, float] = {}

    def beat(self, thread: str) -> None:
        """Say that this thread gets on."""
        self._beats[thread] = self._clock()

    def is_felt(self) -> bool:
        """Whether every thread that has ever beaten has done so lately."""
        since = self._clock() - SILENCE_SECONDS
        return all(at >= since for at in list(self._beats.values()))
