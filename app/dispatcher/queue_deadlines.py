"""The queued runs that have a `QueueTimeoutSeconds`, in the order in which that time ends.

`app/kube/parsing.py` computes the deadline, and `app/dispatcher/queue_timeout_enforcer.py` ends a run that is over it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from app.domain.run import Run


class QueueDeadlines:
    """An index of the queued runs that have a deadline. A change costs little, however many there are."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, str]] = []

    def add(self, run: Run) -> None:
        """Add a queued run, if it has a deadline."""
        if run.queue_deadline is not None:
            insort(self._keys, (run.queue_deadline, run.uid))

    def discard(self, run: Run) -> None:
        """Remove a run that was added."""
        if run.queue_deadline is not None:
            del self._keys[bisect_left(self._keys, (run.queue_deadline, run.uid))]

    def overdue(self, now: int) -> Iterator[str]:
        """Yield the uids of the runs whose deadline is over, the earliest first.

        Args:
            now: microseconds since the epoch, by the API server's clock.
        """
        for deadline, uid in self._keys:
            if deadline > now:
                return
            yield uid
