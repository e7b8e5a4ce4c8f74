"""Subscriptions: open watches of the store."""

import time
from collections.abc import Callable
from typing import Protocol

from devcluster.history import WatchEvent
from devcluster.kinds import Kind


class Changes(Protocol):
    """The source of a subscription's changes: the store."""

    def changes(
        self, kind: Kind, since: int, deadline: float | None, closed: Callable[[], bool]
    ) -> tuple[list[WatchEvent], int]:
        """Wait for changes after `since`; return them and the current revision.

        The list is empty only when `deadline` (a `time.monotonic`) passed or `closed` returned True.
        """
        ...

    def wake(self, kind: Kind) -> None:
        """Make the subscriptions of a kind check whether they are closed."""
        ...


class Subscription:
    """An open watch of one kind: `wait` returns the changes since the last call.

    All changes up to `revision` were returned, so a bookmark may carry it.
    """

    def __init__(self, source: Changes, kind: Kind, namespace: str | None, since: int) -> None:
        self.revision = since
        self._source = source
        self._kind = kind
        self._prefix = "" if namespace is None else f"{namespace}/"
        self.closed = False

    def wait(self, timeout_seconds: float | None = None) -> list[WatchEvent]:
        """Return the changes since the last call; none only after the timeout or when the watch is closed.

        Raises:
            ApiError: 410, the subscription fell too far behind.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            events, current = self._source.changes(self._kind, self.revision, deadline, lambda: self.closed)
            # The start revision may lie in the future; then it stays, because the changes after it are still to come.
            self.revision = max(self.revision, current)
            chosen = [event for event in events if event.key.startswith(self._prefix)]
            if chosen or self.closed or (deadline is not None and time.monotonic() >= deadline):
                return chosen

    def close(self) -> None:
        """End the watch: a pending `wait` returns."""
        self.closed = True
        self._source.wake(self._kind)
