"""Consecutive failures of a Job's pods; they determine the backoff before the next pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from devcluster.controllers.pods import finish_time
from devcluster.objects import Object


@dataclass(frozen=True)
class Failures:
    """A Job's pod failures since its last success, and the time of the latest."""

    count: int = 0
    latest: datetime | None = None

    def after(self, succeeded: Sequence[Object], failed: Sequence[Object]) -> "Failures":
        """Return the failures after these pods, which have just ended."""
        if not succeeded and not failed:
            return self
        ends = sorted(finish_time(pod) for pod in failed)
        if not succeeded:
            return Failures(self.count + len(ends), ends[-1])
        last_success = max(finish_time(pod) for pod in succeeded)
        later = [end for end in ends if end > last_success]
        return Failures(len(later), later[-1] if later else None)
