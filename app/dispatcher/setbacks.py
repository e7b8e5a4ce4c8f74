"""Definitions whose runs are refused, or get no answer to rely on: each is given a rest, so that the others go on.

A webhook or a policy for one kind of Job may fail while the API server is well. What tells the two apart is whether
anything else is answered meanwhile.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.common.outage_logger import OutageLogger
from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_REFUSAL_REST_SECONDS = 0.1
"""After a refusal: should all runs of a definition be refused, they are no burst of writes."""

_FIRST_REST_SECONDS = 0.5
_LAST_REST_SECONDS = 2.0
"""After a write without an answer: longer each time, but an outage may be over at any moment."""

_LAST_LONE_REST_SECONDS = 30.0
"""While others are answered: it isn't the API server that is away, and each such call may hang for seconds."""


@dataclass(frozen=True, slots=True)
class _Failure:
    at: float
    rest_seconds: float


class Setbacks:
    """What the last writes of each definition came to.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rests: dict[str, float] = {}  # until when
        self._failures: dict[str, _Failure] = {}  # the last one, of definitions that were not answered since
        self._troubles: dict[str, OutageLogger] = {}
        self._refused: set[str] = set()  # whose last write was
        self._answered_at = float("-inf")

    def answered(self, definition: str) -> None:
        """Note a write with an answer to rely on, whatever it says."""
        self._failures.pop(definition, None)
        self._refused.discard(definition)
        if (trouble := self._troubles.pop(definition, None)) is not None:
            trouble.recovered()
        self._answered_at = self._clock()

    def refused(self, definition: str) -> None:
        """Note that a run was refused, which is an answer."""
        self.answered(definition)
        self._refused.add(definition)
        self._rests[definition] = self._clock() + _REFUSAL_REST_SECONDS

    def failed(self, definition: str, error: ClusterError) -> bool:
        """Note a call without an answer to rely on; whether it looks like an outage: others had none either."""
        self._troubles.setdefault(
            definition, OutageLogger(log, f"runs of {definition} get no answer to rely on", self._clock)
        ).failed(error)
        now, last = self._clock(), self._failures.get(definition)
        rest_seconds = _FIRST_REST_SECONDS
        if last is not None:
            rest_seconds = min(2 * last.rest_seconds, self.longest_pause_seconds(last.at))
        self._failures[definition] = _Failure(now, rest_seconds)
        self._rests[definition] = now + max(rest_seconds, error.retry_after_seconds or 0)
        return sum(failure.at > self._answered_at for failure in self._failures.values()) > 1

    def longest_pause_seconds(self, failed_at: float) -> float:
        """How long to pause at the most after what failed at that moment has failed again."""
        return _LAST_LONE_REST_SECONDS if self._answered_at > failed_at else _LAST_REST_SECONDS

    def is_resting(self, definition: str) -> bool:
        """Whether nothing is to be written for its runs now."""
        return self._rests.get(definition, float("-inf")) > self._clock()

    def failed_at(self, definition: str) -> float:
        """When its last write failed, for want of an answer to rely on; minus infinity: it did not."""
        failure = self._failures.get(definition)
        return float("-inf") if failure is None else failure.at

    def is_failing(self, definition: str) -> bool:
        """Whether its last write had no answer to rely on."""
        return definition in self._failures

    def was_refused(self, definition: str) -> bool:
        """Whether its last write was refused."""
        return definition in self._refused

    def seconds_left(self) -> float:
        """How long until the next rest is over; infinite where there is none."""
        now = self._clock()
        self._rests = {definition: until for definition, until in self._rests.items() if until > now}
        return min(self._rests.values(), default=float("inf")) - now
