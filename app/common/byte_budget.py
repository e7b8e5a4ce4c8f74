"""A limit on the bytes that requests of one kind hold in memory at the same time."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from app.common.concurrency_limiter import MAX_WAIT_SECONDS, BusyError, arrived_at
from app.telemetry import metrics


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits for its bytes; `turn` is locked until it has them."""

    size_bytes: int
    turn: threading.Lock = field(default_factory=threading.Lock)


class ByteBudget:
    """Lets requests hold so many bytes together; further requests wait, first come, first served.

    So a request that needs many bytes is not overtaken again and again by those that need few.

    Args:
        total_bytes: the budget.
        name: label of the metric of refusals.
    """

    def __init__(self, total_bytes: int, name: str) -> None:
        self._total_bytes = self._free_bytes = total_bytes
        self._name = name
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def reserve(self, size_bytes: int) -> "ByteReservation":
        """Wait until so many bytes are free, and reserve them. Who needs none does not wait.

        Raises:
            BusyError: they did not become free in time.
        """
        assert size_bytes <= self._total_bytes, "a request must not need more than the whole budget"
        with self._lock:
            if not size_bytes or (not self._waiting and self._free_bytes >= size_bytes):
                self._free_bytes -= size_bytes
                return ByteReservation(self, size_bytes)
            waiting = _Waiting(size_bytes)
            waiting.turn.acquire()
            self._waiting.append(waiting)
        arrival = arrived_at.get()
        waited_seconds = 0.0 if arrival is None else time.monotonic() - arrival
        if not waiting.turn.acquire(timeout=max(0.0, MAX_WAIT_SECONDS - waited_seconds)):
            with self._lock:
                if waiting in self._waiting:  # else its turn came at the last moment
                    self._waiting.remove(waiting)
                    self._serve()  # those behind it may need less
                    metrics.LIMITER_REFUSALS.labels(self._name).inc()
                    raise BusyError("other requests hold the memory for this")
        return ByteReservation(self, size_bytes)

    @property
    def waiting(self) -> int:
        """How many requests wait for their bytes."""
        return len(self._waiting)

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._free_bytes += size_bytes
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0].size_bytes <= self._free_bytes:
            served = self._waiting.popleft()
            self._free_bytes -= served.size_bytes
            served.turn.release()


class ByteReservation:
    """Bytes of a budget that one request holds, until its context ends. Not safe to share between threads.

    Args:
        budget: whose bytes they are.
        size_bytes: how many.
    """

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget = budget
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give back what is more than so many bytes."""
        spare_bytes = max(0, self._size_bytes - size_bytes)
        self._size_bytes -= spare_bytes
        self._budget._give_back(spare_bytes)

    def release(self) -> None:
        """Give all bytes back. A second call does nothing."""
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
