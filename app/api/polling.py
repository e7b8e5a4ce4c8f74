"""Answers GETs of callers that poll, which say so with `Cache-Control: max-stale=N` (RFC 9111, section 5.2.1.2)."""

import json
import time
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from flask import Request, Response

from app.common.poll_cache import PollCache, Polled

MAX_STALE_SECONDS = 120
"""The oldest answer that a caller can ask for, beyond a second."""

_ENTRY_BYTES = 512
"""What an answer takes beside its body."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """The answer to a GET, compressed: runs and definitions resemble each other, so it takes a tenth.

    Attributes:
        body: JSON, compressed with zlib.
        size_bytes: of the body before.
        note: what else the route needs for its response.
    """

    body: bytes
    size_bytes: int
    note: Any


class KeptResponse:
    """A response that is kept for callers that poll.

    Args:
        polled: the answer.
    """

    def __init__(self, polled: Polled[_Kept]) -> None:
        self._body = polled.answer.body
        self._age_seconds = polled.age_seconds
        self.size_bytes = polled.answer.size_bytes
        self.note = polled.answer.note

    def respond(self) -> Response:
        """Make a response of it."""
        response = Response(zlib.decompress(self._body), content_type="application/json")
        response.headers["Age"] = str(int(self._age_seconds))
        return response


class PolledResponses:
    """Keeps the answers to GETs of callers that poll.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache: PollCache[_Kept] = PollCache(lambda kept: len(kept.body) + _ENTRY_BYTES, clock=clock)

    def get(self, key: Hashable, max_stale_seconds: int, make: Callable[[], tuple[Any, Any]]) -> KeptResponse:
        """Return an answer: kept, or made now.

        Args:
            key: what is asked, and all that the answer depends on.
            max_stale_seconds: see `PollCache.get`.
            make: makes the answer: its body, to be written as JSON, and a note for the route.

        Raises:
            BusyError: others took too long.
            Exception: what `make` raises.
        """

        def read() -> _Kept:
            body, note = make()
            text = json.dumps(body).encode() + b"\n"
            return _Kept(zlib.compress(text, 1), len(text), note)

        return KeptResponse(self._cache.get(key, max_stale_seconds, read))


def read_max_stale(request: Request) -> int | None:
    """Return how old an answer the caller accepts, in seconds; `None`: it doesn't say, so it does not poll."""
    seconds = request.cache_control.max_stale
    if seconds is None:
        return None
    if isinstance(seconds, bool):  # `max-stale` without a number accepts any age
        return MAX_STALE_SECONDS
    return max(0, min(int(seconds), MAX_STALE_SECONDS))
