"""The event loop: one thread for the controllers and the node, with a queue of calls, timers, and queues of keys.

All of it runs on one thread, so controllers need no locks. The thread sleeps until a call is posted or a timer is due:
an idle cluster uses no processor time.
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

_RETRY_SECONDS = 0.05  # after a failed reconciliation; doubles with each consecutive failure
_RETRY_CAP_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Timer:
    """A scheduled call."""

    __slots__ = ("_call", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due  # time.monotonic
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Cancel the call; no effect once it was made."""
        self._call = None

    def fire(self) -> None:
        """Make the call unless it was cancelled or made already."""
        call, self._call = self._call, None
        if call:
            call()


class Loop:
    """A thread that makes calls one after the other. It logs a call that raises, and continues."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Make the calls posted so far, then end the thread; timers that are not due never fire."""
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Queue a call; may be called from any thread."""
        self._calls.put(lambda: call(*args))

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """Make a call after `seconds`. Call this on the loop's thread only, or before it starts."""
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
        """Fire the due timers; return the seconds until the next one, None when there is none."""
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
        _log.exception("a call on the controllers' loop failed; continuing")


Key = tuple[str, str]  # namespace and name


class KeyQueue:
    """The queue of keys that one controller must reconcile; a key that is queued already is not added again.

    `reconcile` returns the seconds after which to reconcile the key again, None to wait for the next change. A conflict
    or a missing object is not retried, because the change that caused it queues the key again; other errors are.
    """

    def __init__(self, loop: Loop, reconcile: Callable[[Key], float | None]) -> None:
        self._loop = loop
        self._reconcile = reconcile
        self._waiting: set[Key] = set()
        self._timers: dict[Key, Timer] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Queue a key."""
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
        except Exception as error:  # one key's error must not stop the others
            wait_seconds = self._failed(key, error)
        else:
            self._failures.pop(key, None)
        if wait_seconds is not None:
            self._timers[key] = self._loop.after(wait_seconds, self.add, key)

    def _failed(self, key: Key, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        _log.error("reconciling %s/%s failed; trying again", *key, exc_info=error)
        return min(_RETRY_SECONDS * 2.0 ** min(failures, 16), _RETRY_CAP_SECONDS)
