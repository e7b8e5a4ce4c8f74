"""Saying in the log that something fails: when it begins, now and then while it lasts, and when it is over."""

import logging
import time
from collections.abc import Callable

_REMIND_SECONDS = 60.0
"""How often a trouble that lasts is mentioned."""


class OutageLogger:
    """One thing that may fail for a while. Not to be shared between threads.

    Args:
        log: where it is said.
        what: what fails, as a sentence.
        clock: seconds that never go back.
    """

    def __init__(self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._since: float | None = None
        self._said_at = 0.0
        self._times = 0

    def failed(self, error: Exception) -> None:
        """It has failed, for the first time or again."""
        now = self._clock()
        self._times += 1
        if self._since is None:
            self._since, self._said_at = now, now
            self._log.warning("%s: %s", self._what, error)
        elif now - self._said_at >= _REMIND_SECONDS:
            self._said_at = now
            self._log.warning("%s, %d times in %.0f s: %s", self._what, self._times, now - self._since, error)

    def recovered(self) -> None:
        """It has gone well; worth a word only where it had failed."""
        if self._since is not None:
            self._log.info("over after %.1f s: %s", self._clock() - self._since, self._what)
        self._since, self._times = None, 0
