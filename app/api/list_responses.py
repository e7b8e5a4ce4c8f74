"""Responses to requests for lists, within a budget of memory, also to callers that poll."""

from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any

from flask import Response, request

from app.api.polling import PolledResponses, read_max_stale
from app.api.responses import budgeted_response, json_response
from app.common.byte_budget import ByteBudget


class ListResponses:
    """Makes the responses of one route. Safe to share between threads.

    Args:
        polled: keeps lists for callers that poll.
        most_bytes: what a list may take in memory: its items, and its response.
        all_bytes: what all lists under way may take, until their clients have read them.
    """

    def __init__(self, polled: PolledResponses, *, most_bytes: int, all_bytes: int) -> None:
        self._polled = polled
        self._most_bytes = most_bytes
        self._budget = ByteBudget(all_bytes, "lists")
        self._rendering = Lock()

    def respond(
        self,
        key: Hashable,
        make: Callable[[], tuple[Any, Any]],
        headers: Callable[[Any], Mapping[str, str]],
    ) -> Response:
        """Make the response to the current request.

        Args:
            key: what is asked, and all that the list depends on.
            make: makes the list, to be written as JSON, and a note.
            headers: makes the response's headers of the note.

        Raises:
            BusyError: the budget had no room in time.
            Exception: what `make` raises.
        """
        max_stale_seconds = read_max_stale(request)
        if max_stale_seconds is None:
            return budgeted_response(self._budget, self._most_bytes, lambda: self._build(make, headers))

        def make_within_budget() -> tuple[Any, Any]:
            with self._budget.reserve(self._most_bytes):
                return make()

        kept = self._polled.get(key, max_stale_seconds, make_within_budget)

        def build() -> Response:
            response = kept.respond()
            response.headers.update(headers(kept.note))
            return response

        return budgeted_response(self._budget, 2 * kept.size_bytes, build)

    def _build(self, make: Callable[[], tuple[Any, Any]], headers: Callable[[Any], Mapping[str, str]]) -> Response:
        body, note = make()
        with self._rendering:
            return json_response(body, 200, headers(note))
