"""A cache for callers that poll: they share a budget of lists, and get a slightly old answer when it is used up.

The budget pays for renewals only. If there is no answer that a caller accepts, one is read at once, as for a caller
that does not poll. Such reads must not use up the budget: one caller that asks for something new each second would keep
all others from ever seeing a new answer.
"""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.common.concurrency_limiter import BusyError
from app.common.errors import ErrorKind, ServiceError
from app.common.list_count import count_lists

_T = TypeVar("_T")

_FRESH_SECONDS = 1.0
"""How long an answer counts as new: as long as the lists that other callers share."""

_LISTS_PER_SECOND = 1.0

_BURST = 5.0
"""How many lists may be saved up, so that a few pages which have just begun to poll are shown changes at once."""

_DEBT = 10.0
"""How many lists in advance a renewal may use, if it takes long. The next one waits until they are paid for."""

_MAX_ENTRIES = 128
_MAX_BYTES = 2**20

_TURN_SECONDS = 10.0
"""How long a caller without any answer waits for the others. Without the API server, they fail one after the other."""

_COST_PER_SECOND = 2.0
"""What a read costs that takes long, such as a list of thousands of runs: half of the time nothing is read."""

_IN_DEMAND_SECONDS = 5.0
"""How long after a poll a list is saved for the answer: longer than callers wait between two polls."""


@dataclass(slots=True)
class _Entry(Generic[_T]):
    answer: _T
    read_at: float
    size_bytes: int
    asked_at: float


@dataclass(frozen=True, slots=True)
class Polled(Generic[_T]):
    """An answer for a caller that polls.

    Attributes:
        answer: what was read.
        age_seconds: how long ago that was.
    """

    answer: _T
    age_seconds: float


class PollCache(Generic[_T]):
    """Keeps answers for callers that poll. Safe to share between threads.

    An answer is renewed if it is older than a second, the budget has a list left for it and for each older answer that
    callers poll, and nobody else renews one. Otherwise the caller gets the old answer, as long as it accepts that. So
    renewals for many callers that poll cost no more than one list a second. Without callers nothing is read.

    If there is no answer, or none that is new enough for the caller, one is read at once, beside the budget. An answer
    is forgotten when its read says that what it shows is gone. After any other failure its turn comes last.

    Args:
        size_of: how many bytes an answer takes.
        clock: seconds that never go back.
    """

    def __init__(self, size_of: Callable[[_T], int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size_of = size_of
        self._clock = clock
        self._lock = threading.Lock()
        self._first_turn = threading.Lock()  # to read for those who accept no kept answer
        self._renewal_turn = threading.Lock()
        self._entries: dict[Hashable, _Entry[_T]] = {}  # the one whose read was tried longest ago first
        self._bytes = 0
        self._budget = _BURST
        self._paid_at = clock()

    def get(self, key: Hashable, max_stale_seconds: float, read: Callable[[], _T]) -> Polled[_T]:
        """Return the answer for a key: kept, or read now.

        Args:
            key: what is asked, and all that the answer depends on.
            max_stale_seconds: how much older than a second the answer may be.
            read: reads it. Its lists are counted.

        Raises:
            BusyError: others took too long.
            Exception: what `read` raises.
        """
        kept = self._look_up(key)
        if kept is not None and kept.age_seconds < _FRESH_SECONDS:
            return kept
        is_renewal = kept is not None and kept.age_seconds < _FRESH_SECONDS + max_stale_seconds
        if kept is not None and is_renewal:
            turn = self._renewal_turn
            if not self._may_renew(key) or not turn.acquire(blocking=False):
                return kept
        else:
            turn = self._first_turn
            if not turn.acquire(timeout=_TURN_SECONDS):
                raise BusyError("other callers poll all the time")
        try:
            kept = self._look_up(key)  # somebody may have read it meanwhile
            if kept is not None and kept.age_seconds < _FRESH_SECONDS:
                return kept
            return self._read(key, read, is_renewal=is_renewal)
        finally:
            turn.release()

    def __len__(self) -> int:
        return len(self._entries)

    def _look_up(self, key: Hashable) -> Polled[_T] | None:
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else Polled(entry.answer, max(0.0, self._clock() - entry.read_at))

    def _may_renew(self, key: Hashable) -> bool:
        with self._lock:
            self._pay()
            now = self._paid_at
            older = 0
            for other, entry in self._entries.items():
                if other == key:
                    entry.asked_at = now
                    break
                older += now - entry.asked_at < _IN_DEMAND_SECONDS and now - entry.read_at >= _FRESH_SECONDS
            return self._budget >= 1 + older

    def _pay(self) -> None:
        now = self._clock()
        self._budget = min(_BURST, self._budget + (now - self._paid_at) * _LISTS_PER_SECOND)
        self._paid_at = now

    def _read(self, key: Hashable, read: Callable[[], _T], *, is_renewal: bool) -> Polled[_T]:
        began = self._clock()
        with count_lists() as count:
            try:
                answer = read()
            except Exception as error:
                is_gone = isinstance(error, ServiceError) and error.kind is ErrorKind.NOT_FOUND
                self._record_failure(key, is_gone=is_gone)
                raise
            finally:
                if is_renewal:
                    self._charge(count.lists, began)
        self._keep(key, answer, began)
        return Polled(answer, 0.0)

    def _charge(self, lists: int, began: float) -> None:
        with self._lock:
            self._pay()
            cost = max(lists, _COST_PER_SECOND * (self._paid_at - began))
            self._budget = max(-_DEBT, self._budget - cost)

    def _record_failure(self, key: Hashable, *, is_gone: bool) -> None:
        with self._lock:
            if is_gone:
                self._drop(key)
            elif (entry := self._entries.pop(key, None)) is not None:
                self._entries[key] = entry  # the last one: else it would use up each list that the others wait for

    def _keep(self, key: Hashable, answer: _T, began: float) -> None:
        size_bytes = self._size_of(answer)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.read_at > began:
                return  # somebody who accepted no kept answer has read a newer one meanwhile
            self._drop(key)
            while self._entries and (len(self._entries) >= _MAX_ENTRIES or self._bytes + size_bytes > _MAX_BYTES):
                self._drop(next(iter(self._entries)))
            self._entries[key] = _Entry(answer, began, size_bytes, began)
            self._bytes += size_bytes

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size_bytes
