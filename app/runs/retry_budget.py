"""How often, and for how long, a failed write to the API server is retried."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.common.backoff import Backoff
from app.kube.errors import ClusterError

log = logging.getLogger(__name__)

_BACKOFF = Backoff(first_seconds=0.2, last_seconds=1.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed write is sent again.

    Attributes:
        backoff: the waits between two attempts.
        max_attempts: how often one write is sent at most.
        deadline_seconds: after this time no further attempt begins, so that the caller is told soon that something is
            wrong.
        sleep: waits for a number of seconds.
        clock: seconds that never go back.
    """

    backoff: Backoff = _BACKOFF
    max_attempts: int = 4
    deadline_seconds: float = 4.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


DEFAULT_RETRY_POLICY = RetryPolicy()


class RetryBudget:
    """The retries that are left for one write. The time counts from when this object is made.

    Args:
        policy: says when to retry.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._backoff = policy.backoff
        self._retries_left = policy.max_attempts - 1
        self._deadline = policy.clock() + policy.deadline_seconds

    def wait(self, write: str, error: ClusterError) -> bool:
        """Wait until the next attempt is due.

        Args:
            write: what failed, for the log.
            error: why the last attempt failed. The wait is no shorter than it asks for.

        Returns:
            Whether to try again. `False` comes at once: no attempt is left, or the next one would begin too late.
        """
        now = self._policy.clock()
        backoff = self._backoff.next(now, error.retry_after_seconds or 0)
        if self._retries_left == 0 or backoff.until > self._deadline:
            return False
        self._backoff = backoff
        self._retries_left -= 1
        log.warning("%s failed, retrying in %.1f s: %s", write, backoff.seconds_left(now), error)
        self._policy.sleep(backoff.seconds_left(now))
        return True
