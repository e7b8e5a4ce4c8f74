"""Logging of an outage: when it begins, once a minute while it lasts, and when it ends."""

import logging
import time
from collections.abc import Callable

_REMIND_SECONDS = 60.0
"""How often an outage that lasts is logged again."""


class OutageLogger:
    """Logs the outages of one operation. Not thread-safe.

    Args:
        log: the logger.
        what: what fails, as a sentence.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._since: float | None = None
        self._logged_at = 0.0
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Report that the operation has failed."""
        now = self._clock()
        self._failures += 1
        if self._since is None:
            self._since, self._logged_at = now, now
            self._log.warning("%s: %s", self._what, error)
        elif now - self._logged_at >= _REMIND_SECONDS:
            self._logged_at = now
            self._log.warning("%s, %d times in %.0f s: %s", self._what, self._failures, now - self._since, error)

    def recovered(self) -> None:
        """Report that the operation has succeeded."""
        if self._since is not None:
            self._log.info("recovered after %.1f s: %s", self._clock() - self._since, self._what)
        self._since, self._failures = None, 0
