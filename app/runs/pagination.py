"""Pages of a definition's runs: which runs are on a page, and where the next page continues.

Runs are listed from the newest to the oldest by their queue keys (`app.domain.run.queue_key`), which never change. A
page ends at a key, not at a number: whatever comes and goes meanwhile, no run that stays is left out or shown twice.
"""

import base64
import binascii
import heapq
import json
import re
from dataclasses import dataclass

from app.common.types import Json
from schemas.run import Notification, RunView, Status

QueueKey = tuple[int, str]
"""See `app.domain.run.queue_key`."""

DEFAULT_LIMIT = 100
MAX_LIMIT = 500

_PAGE_BYTES = 1024 * 1024
"""How long the Jobs of one page are together at most, as JSON. One Job has about 3 KiB, and up to 100 KiB if its
request is large."""

MAX_RUNS_BYTES = 512 * 1024
"""How long the runs of one page are together at most in a response, unless one alone is longer."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,400}", re.ASCII)
_QUEUE_KEY = re.compile(r"(-?[0-9]{1,18}) ([a-z0-9][-.a-z0-9]{0,252})", re.ASCII)


class NotAContinuationError(ValueError):
    """The text is not a continuation that this service has given out."""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which runs a caller wants to see.

    Attributes:
        limit: the most runs on the page, up to `MAX_LIMIT`.
        before: only runs whose queue key is lower, that is, older runs; `None`: all.
        statuses: only runs that have one of these; empty: any.
        owner: only runs that this user has started, as `write_user_name` writes the name; `None`: everybody's.
        notifications: only runs whose notification has one of these states; empty: any.
        finished_since: only runs that ended then or later, microseconds since the epoch; `None`: any.
    """

    limit: int = DEFAULT_LIMIT
    before: QueueKey | None = None
    statuses: frozenset[Status] = frozenset()
    owner: str | None = None
    notifications: frozenset[Notification] = frozenset()
    finished_since: int | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """One page of runs.

    Attributes:
        runs: from the newest to the oldest. There may be fewer than the limit, even none, although more follow.
        next: the queue key at which the next page continues; `None`: no more runs follow.
    """

    runs: tuple[RunView, ...]
    next: QueueKey | None


class TopN:
    """The newest of the Jobs that it is offered: a number of them, and no more than a bounded amount of JSON.

    It keeps them as text: as objects they take about seven times as much.

    Args:
        count: how many Jobs to keep at most.
        before: see `ListQuery`.
    """

    def __init__(self, count: int, before: QueueKey | None) -> None:
        self._count = count
        self._before = before
        self._floor: QueueKey | None = None  # the newest key that was left out
        self._bytes = 0
        self._heap: list[tuple[QueueKey, str]] = []

    def offer(self, key: QueueKey, job: Json) -> None:
        """Keep a Job if it is among the newest."""
        if self._before is not None and key >= self._before:
            return
        if len(self._heap) == self._count and key < self._heap[0][0]:
            self._raise_floor(key)
        if self._floor is not None and key <= self._floor:
            return
        text = json.dumps(job)
        self._bytes += len(text)
        heapq.heappush(self._heap, (key, text))
        while len(self._heap) > max(1, self._count) or (self._bytes > _PAGE_BYTES and len(self._heap) > 1):
            dropped, text = heapq.heappop(self._heap)
            self._bytes -= len(text)
            self._raise_floor(dropped)

    def _raise_floor(self, key: QueueKey) -> None:
        self._floor = key if self._floor is None else max(self._floor, key)

    @property
    def older_exist(self) -> bool:
        """Whether Jobs were offered that are older than the kept ones."""
        return self._floor is not None

    def jobs(self) -> list[tuple[QueueKey, str]]:
        """Return the kept Jobs, as JSON, with their queue keys, from the newest to the oldest."""
        return sorted(self._heap, reverse=True)


def write_continuation(key: QueueKey) -> str:
    """Return a queue key as text that callers carry from one page to the next."""
    return base64.urlsafe_b64encode(f"{key[0]} {key[1]}".encode()).decode("ascii").rstrip("=")


def read_continuation(text: str) -> QueueKey:
    """Read a text that `write_continuation` has made.

    Raises:
        NotAContinuationError: it has not made this text.
    """
    if not _TOKEN.fullmatch(text):
        raise NotAContinuationError(text)
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise NotAContinuationError(text) from error
    found = _QUEUE_KEY.fullmatch(decoded)
    if found is None:
        raise NotAContinuationError(text)
    return int(found[1]), found[2]
