"""Pages of a definition's runs: which of them one answer holds, and where the next one goes on.

Runs are listed from the newest to the oldest by their places (`app.kube.parsing.place`), which never change. A page
ends at a place, not at a number: whatever comes and goes meanwhile, no run that stays is left out or shown twice.
"""

import base64
import binascii
import heapq
import json
import re
from dataclasses import dataclass

from app.common.types import Json
from schemas.run import RunView, Status

QueueKey = tuple[int, str]

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

_PAGE_BYTES = 1024 * 1024
"""The most that the Jobs of a page have together as JSON; one has about 3 KiB, or up to 100 if its caller likes."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,400}", re.ASCII)
_PLACE = re.compile(r"(-?[0-9]{1,18}) ([a-z0-9][-.a-z0-9]{0,252})", re.ASCII)


class NotAContinuationError(ValueError):
    """The text is no continuation that this service has given out."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What a caller wants to see.

    Attributes:
        limit: runs on the page at most, up to `MAX_LIMIT`.
        before: only runs whose place is lower, that is, older ones; `None`: all.
        statuses: only runs that have one of these; empty: any.
    """

    limit: int = DEFAULT_LIMIT
    before: QueueKey | None = None
    statuses: frozenset[Status] = frozenset()


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs.

    Attributes:
        runs: from the newest to the oldest; there may be fewer than the limit, even none, though more follow.
        next: where to go on; `None`: no more follow.
    """

    runs: tuple[RunView, ...]
    next: QueueKey | None


class TopN:
    """Keeps the newest of the Jobs that it is offered: so many, and no more than a bounded amount of JSON.

    Args:
        count: how many at most.
        before: see `ListQuery`.
    """

    def __init__(self, count: int, before: QueueKey | None) -> None:
        self._count = count
        self._before = before
        self._floor: QueueKey | None = None
        self._bytes = 0
        self._heap: list[tuple[QueueKey, int, int, Json]] = []  # the number keeps Jobs from being compared
        self._number = 0

    def offer(self, place: QueueKey, job: Json) -> None:
        """Keep a Job if it is among the newest; its `managedFields` are dropped."""
        if self._before is not None and place >= self._before:
            return
        if len(self._heap) == self._count and place < self._heap[0][0]:
            self._raise_floor(place)
        if self._floor is not None and place <= self._floor:
            return
        job["metadata"].pop("managedFields", None)
        size_bytes = len(json.dumps(job))
        self._number += 1
        self._bytes += size_bytes
        heapq.heappush(self._heap, (place, self._number, size_bytes, job))
        while len(self._heap) > max(1, self._count) or (self._bytes > _PAGE_BYTES and len(self._heap) > 1):
            dropped, _, size_bytes, _ = heapq.heappop(self._heap)
            self._bytes -= size_bytes
            self._raise_floor(dropped)

    def _raise_floor(self, place: QueueKey) -> None:
        self._floor = place if self._floor is None else max(self._floor, place)

    @property
    def left_some_out(self) -> bool:
        """Whether older ones were offered than those that are kept."""
        return self._floor is not None

    def jobs(self) -> list[tuple[QueueKey, Json]]:
        """What was kept, from the newest to the oldest."""
        return [(place, job) for place, _, _, job in sorted(self._heap, reverse=True, key=lambda kept: kept[0])]


def write_continuation(place: QueueKey) -> str:
    """A place as callers carry it from one page to the next."""
    return base64.urlsafe_b64encode(f"{place[0]} {place[1]}".encode()).decode("ascii").rstrip("=")


def read_continuation(text: str) -> QueueKey:
    """Read what `write_continuation` wrote.

    Raises:
        NotAContinuationError: it did not write this.
    """
    if not _TOKEN.fullmatch(text):
        raise NotAContinuationError(text)
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise NotAContinuationError(text) from error
    found = _PLACE.fullmatch(decoded)
    if found is None:
        raise NotAContinuationError(text)
    return int(found[1]), found[2]
