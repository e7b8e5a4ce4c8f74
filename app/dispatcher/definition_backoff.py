"""Backoff of definitions whose writes fail, so that the others go on."""

import logging

from app.common.backoff_table import BackoffTable
from app.common.outage_logger import OutageLogger
from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LAST_PAUSE_SECONDS = 30.0
_OUTAGE_PAUSE_SECONDS = 2.0
"""The longest pause while nothing else is answered either: an outage may be over at any moment."""

_REFUSAL_PAUSE_SECONDS = 0.1
"""The pause after a refusal. It keeps a definition of which all runs are refused from a burst of writes."""

_FIRST_STOP_SECONDS = 60.0
_LAST_STOP_SECONDS = 300.0
"""The pauses after Kueue has stopped a run. Each time, pods are made and deleted."""


class DefinitionBackoff:
    """The results of the last writes of each definition, and the pauses that follow from them."""

    def __init__(self) -> None:
        self._failures = BackoffTable[str](_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._refusals = BackoffTable[str](_REFUSAL_PAUSE_SECONDS, _REFUSAL_PAUSE_SECONDS)
        self._stops = BackoffTable[str](_FIRST_STOP_SECONDS, _LAST_STOP_SECONDS)
        self._failed_at: dict[str, float] = {}
        self._answered_at = float("-inf")
        self._outages: dict[str, OutageLogger] = {}

    def answered(self, definition: str, now: float) -> None:
        """Record that a write was answered, whatever the answer says."""
        self._answered_at = now
        self._failures.succeed(definition)
        self._failed_at.pop(definition, None)
        if (outage := self._outages.pop(definition, None)) is not None:
            outage.recovered()

    def refused(self, definition: str, now: float) -> None:
        """Record that the API server refused a run. A refusal is an answer."""
        self.answered(definition, now)
        self._refusals.fail(definition, now)

    def failed(self, definition: str, now: float, error: ClusterError) -> None:
        """Record a write whose outcome is unknown."""
        outage = self._outages.setdefault(definition, OutageLogger(log, f"writes for runs of {definition} fail"))
        outage.failed(error)
        others_answered = self._answered_at > self._failed_at.get(definition, float("inf"))
        at_most = _LAST_PAUSE_SECONDS if others_answered else _OUTAGE_PAUSE_SECONDS
        self._failures.fail(definition, now, at_least=error.retry_after_seconds or 0, at_most=at_most)
        self._failed_at[definition] = now

    def stopped(self, definition: str, now: float) -> None:
        """Record that Kueue has suspended a run that was started."""
        if not self._stops.is_waiting(definition, now):  # else it was started before the pause
            self._stops.fail(definition, now)

    def started(self, definition: str) -> None:
        """Record that a run has a ready pod."""
        self._stops.succeed(definition)

    def is_resting(self, definition: str, now: float) -> bool:
        """Whether nothing is to be written for its runs now."""
        return any(table.is_waiting(definition, now) for table in (self._failures, self._refusals, self._stops))

    def seconds_left(self, now: float) -> float:
        """How long until the next pause is over; infinite where there is none."""
        return min(table.seconds_left(now) for table in (self._failures, self._refusals, self._stops))
