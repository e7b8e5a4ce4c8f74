"""When a write that got no answer, or none to rely on, is made once more."""

import logging
from collections.abc import Callable

from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Between the tries."""

LAST_TRY_SECONDS = 4.0
"""After so long no further try begins: the caller had better hear that something is wrong."""


StartBudget = Callable[[], "RetryBudget"]
"""Begins the tries of one write, as `functools.partial(Tries, sleep, clock)` does."""


class RetryBudget:
    """The tries of one write.

    Args:
        sleep: waits for so many seconds.
        clock: seconds that never go back.
    """

    def __init__(self, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._sleep = sleep
        self._clock = clock
        self._began = clock()
        self._pauses_seconds = iter(_PAUSES_SECONDS)

    def wait(self, what: str, error: ClusterError) -> bool:
        """Wait until it is time for the next try; `False`, at once, where there have been enough.

        Args:
            what: is tried, for the log.
            error: what the last one met.
        """
        pause_seconds = next(self._pauses_seconds, None)
        if pause_seconds is None:
            return False
        asked_seconds = max(pause_seconds, error.retry_after_seconds or 0)
        if self._clock() - self._began + asked_seconds > LAST_TRY_SECONDS:
            return False
        log.warning("%s once more: %s", what, error)
        self._sleep(asked_seconds)
        return True
