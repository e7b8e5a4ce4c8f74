"""Open watches: what changed since they last looked."""

import time
from collections.abc import Callable
from typing import Protocol

from devcluster.history import WatchEvent
from devcluster.kinds import Kind


class Changes(Protocol):
    """Where a subscription's changes come from: the store."""

    def changes(
        self, kind: Kind, since: int, deadline: float | None, closed: Callable[[], bool]
    ) -> tuple[list[WatchEvent], int]:
        """Wait for changes after `since`; return them (none at the deadline, a `time.monotonic`) and the revision."""
        ...

    def wake(self, kind: Kind) -> None:
        """Let the subscriptions of a kind look whether they are closed."""
        ...


class Subscription:
    """An open watch of one kind: `wait` returns what changed since the last call.

    `revision` is that up to which every change was returned: what a bookmark may claim.
    """

    def __init__(self, source: Changes, kind: Kind, namespace: str | None, since: int) -> None:
        self.revision = since
        self._source = source
        self._kind = kind
        self._prefix = "" if namespace is None else f"{namespace}/"
        self.closed = False

    def wait(self, timeout_seconds: float | None = None) -> list[WatchEvent]:
        """Return the changes since the last call, at least one unless the time is over or the watch closed.

        Raises:
            ApiError: 410, it fell too far behind.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            events, current = self._source.changes(self._kind, self.revision, deadline, lambda: self.closed)
            # A revision that the cluster hasn't reached yet stays the mark: what it asks for is still to come.
            self.revision = max(self.revision, current)
            chosen = [event for event in events if event.key.startswith(self._prefix)]
            if chosen or self.closed or (deadline is not None and time.monotonic() >= deadline):
                return chosen

    def close(self) -> None:
        """End the watch: a call of `wait` that is under way returns."""
        self.closed = True
        self._source.wake(self._kind)
