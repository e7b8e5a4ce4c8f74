"""How every JSON answer is written."""

import json
from collections.abc import Mapping
from typing import Any

from flask import Response


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, *, content_type: str = "application/json"
) -> Response:
    """Answer with a JSON text on a line of its own, as terminals like it."""
    return Response(json.dumps(value) + "\n", status, headers, content_type=content_type)
