"""The places for calls that last: waits and logs.

Each holds a thread for as long as it lasts, so there are only so many; gunicorn has that many threads more
(gunicorn.conf.py), and all other calls get theirs. One thread looks after all of them: it ends those whose client has
left, whose time is up, or all of them when the process is to stop.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.cluster.interrupts import Interrupt
from app.observability import metrics

_LOOK_SECONDS = 0.5
"""How often clients are looked after."""


class TooManyStreamsError(Exception):
    """All places are taken."""


@dataclass(frozen=True, slots=True)
class _Guest:
    interrupt: Interrupt
    gone: Callable[[], bool]
    deadline: float

    def is_over(self, now: float) -> bool:
        return now >= self.deadline or self.gone()


class Streams:
    """Gives places to calls that last. No thread runs before the first of them comes.

    Args:
        places: how many.

    Attributes:
        stopping: says whether the process is to stop; whoever runs it puts a better answer here.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._changed = threading.Condition()
        self._guests: set[_Guest] = set()
        self._thread: threading.Thread | None = None
        self.stopping: Callable[[], bool] = lambda: False

    @contextmanager
    def place(self, gone: Callable[[], bool], seconds: float | None = None) -> Iterator[Interrupt]:
        """Hold a place for as long as the context lasts.

        Args:
            gone: says whether the client has left; called from another thread, must not raise.
            seconds: how long the client wants to wait; `None`: for ever.

        Yields:
            What is set when there is no more reason to go on: the client has left, its time is up, or the process is
            to stop.

        Raises:
            TooManyStreamsError: there is none; nobody is made to wait for one.
        """
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        guest = _Guest(Interrupt(), gone, deadline)
        with self._changed:
            if len(self._guests) >= self._places:
                metrics.GATE_REFUSALS.labels("streams").inc()
                raise TooManyStreamsError(f"all {self._places} places are taken")
            if self._thread is None:
                thread = threading.Thread(target=self._look_after, name="streams", daemon=True)
                thread.start()  # first of all: where there is none to be had, the next call tries again
                self._thread = thread
            self._guests.add(guest)
            self._changed.notify_all()
        try:
            with metrics.STREAMS.track_inprogress():
                yield guest.interrupt
        finally:
            with self._changed:
                self._guests.remove(guest)

    def _look_after(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._guests)
                guests = [guest for guest in self._guests if not guest.interrupt.is_set]
            now, stopping = time.monotonic(), self.stopping()
            for guest in guests:
                if stopping or guest.is_over(now):
                    guest.interrupt.set()
            left_seconds = min((guest.deadline - now for guest in guests if not guest.interrupt.is_set), default=1.0)
            with self._changed:
                self._changed.wait(min(left_seconds, _LOOK_SECONDS))
