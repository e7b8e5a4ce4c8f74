"""Writes JSON responses, and files that caches may keep if they revalidate them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, request

from app.common.byte_budget import ByteBudget


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, *, content_type: str = "application/json"
) -> Response:
    """Build a response with a JSON body that ends with a line feed, so that it prints well on a terminal."""
    return Response(json.dumps(value) + "\n", status, headers, content_type=content_type)


def revalidated_response(content: bytes, content_type: str) -> Response:
    """Build a response that caches may keep, but must revalidate each time: by its ETag it is 304 then."""
    response = Response(content, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(hashlib.sha256(content).hexdigest()[:16])
    response.make_conditional(request)
    return response


def budgeted_response(budget: ByteBudget, most_bytes: int, build: Callable[[], Response]) -> Response:
    """Build a response that may be large, and hold its memory in a budget until its client has read it.

    Args:
        budget: of all such responses under way.
        most_bytes: what building the response may take.
        build: builds it.

    Raises:
        BusyError: the budget had no room in time.
    """
    reservation = budget.reserve(most_bytes)
    try:
        response = build()
        reservation.shrink(2 * (response.content_length or 0))
        response.call_on_close(reservation.release)
    except BaseException:
        reservation.release()
        raise
    return response
