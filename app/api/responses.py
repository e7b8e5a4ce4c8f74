"""Writes JSON responses."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, *, content_type: str = "application/json"
) -> Response:
    """Build a response with a JSON body that ends with a line feed, so that it prints well on a terminal."""
    return Response(json.dumps(value) + "\n", status, headers, content_type=content_type)
