"""The one thread on which the controllers and the node decide: calls in order, timers, and queues of keys.

Because everything runs on it one after the other, nothing that a controller keeps needs a lock. The thread sleeps until
a call is posted or a timer is due: an idle cluster uses no processor time.
"""

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from devcluster.errors import ApiError

_RETRY_SECONDS = 0.05  # after a reconciliation that failed; doubles with each failure in a row
_RETRY_CAP_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Timer:
    """A call that is due later; `cancel` makes it never happen."""

    __slots__ = ("_call", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due  # time.monotonic
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self._call = None

    def fire(self) -> None:
        """Make the call unless it was cancelled or made."""
        call, self._call = self._call, None
        if call:
            call()


class Loop:
    """A thread that makes calls one after the other. A call that raises is logged, and the next one is made."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start making calls."""
        self._thread.start()

    def stop(self) -> None:
        """Make the calls that were posted so far, then end; timers that aren't due yet never fire."""
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Make a call soon; from any thread."""
        self._calls.put(lambda: call(*args))

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """Make a call once `seconds` are over; on the loop's own thread only, or before it starts."""
        timer = Timer(time.monotonic() + max(0.0, seconds), lambda: call(*args))
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def _run(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=self._fire_due())
            except queue.Empty:
                continue
            if call is None:
                return
            _attempt(call)

    def _fire_due(self) -> float | None:
        """Fire what is due; return the seconds until the next timer, None when there is none."""
        while self._timers:
            seconds = self._timers[0][0] - time.monotonic()
            if seconds > 0:
                return seconds
            _attempt(heapq.heappop(self._timers)[2].fire)
        return None


def _attempt(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        _log.exception("a call on the controllers' loop failed")


Key = tuple[str, str]  # namespace and name


class KeyQueue:
    """The keys of one controller that wait to be reconciled; a key that waits already isn't added twice.

    `reconcile` returns after how many seconds to look again, None for not before the next change. A conflict or a
    missing object needs no retry, because the change that caused it brings the key back; any other error is retried.
    """

    def __init__(self, loop: Loop, reconcile: Callable[[Key], float | None]) -> None:
        self._loop = loop
        self._reconcile = reconcile
        self._waiting: set[Key] = set()
        self._timers: dict[Key, Timer] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Reconcile soon."""
        if key not in self._waiting:
            self._waiting.add(key)
            self._loop.post(self._run, key)

    def _run(self, key: Key) -> None:
        self._waiting.discard(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        try:
            wait_seconds = self._reconcile(key)
        except ApiError as error:
            wait_seconds = None if error.reason in ("NotFound", "Conflict") else self._failed(key, error)
        except Exception as error:  # one key's fault must not stop the others
            wait_seconds = self._failed(key, error)
        else:
            self._failures.pop(key, None)
        if wait_seconds is not None:
            self._timers[key] = self._loop.after(wait_seconds, self.add, key)

    def _failed(self, key: Key, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        _log.error("reconciling %s/%s failed", *key, exc_info=error)
        return min(_RETRY_SECONDS * 2.0 ** min(failures, 16), _RETRY_CAP_SECONDS)
