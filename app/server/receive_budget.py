"""Which requests may be received, when there are more of them than memory for them.

A request that has not arrived yet takes memory for as long as its client likes. So all of these have one budget of
bytes. Each asks for all that it may still send, and its bytes stay in the kernel until it has them. Addresses take
turns: whoever keeps many connections open delays the others by one request for each turn.

How long a request may take is decided in `app/server/request_intake.py`.
"""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ReceiveBudget(Generic[T]):
    """The bytes of the requests that are being received. For one thread: the server's loop.

    Args:
        total_bytes: the budget.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = self._free_bytes = total_bytes
        self._held: dict[T, int] = {}
        self._waiting: dict[str, deque[tuple[T, int]]] = {}  # by address; whose turn it is comes first

    def ask(self, address: str, request: T, size_bytes: int) -> None:
        """Let a request wait for its bytes, in addition to those that it holds; `next` may return it at once."""
        self._waiting.setdefault(address, deque()).append((request, min(size_bytes, self._total_bytes)))

    def next(self) -> T | None:
        """Return a request that has its bytes now; `None`: none waits, or too few bytes are free."""
        for address, requests in self._waiting.items():
            request, size_bytes = requests[0]
            if size_bytes > self._free_bytes:
                return None  # nobody overtakes it: else those that need little would, again and again
            self._free_bytes -= size_bytes
            self._held[request] = self._held.get(request, 0) + size_bytes
            requests.popleft()
            del self._waiting[address]
            if requests:
                self._waiting[address] = requests  # behind the others
            return request
        return None

    def held(self, request: T) -> int:
        """Return how many bytes a request holds."""
        return self._held.get(request, 0)

    def release(self, request: T) -> None:
        """Take back all bytes of a request. A second call does nothing."""
        self._free_bytes += self._held.pop(request, 0)

    def withdraw(self, request: T) -> None:
        """Let a request wait no longer."""
        for address, requests in [*self._waiting.items()]:
            kept = deque(entry for entry in requests if entry[0] is not request)
            if kept:
                self._waiting[address] = kept
            else:
                del self._waiting[address]

    def waiting(self) -> list[T]:
        """Return the requests that wait."""
        return [request for requests in self._waiting.values() for request, _ in requests]

    @property
    def is_short(self) -> bool:
        """Whether requests wait for bytes."""
        return bool(self._waiting)
