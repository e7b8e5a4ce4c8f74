"""How many bytes a request adds to its Job, as the API server stores and serves it."""

from collections.abc import Iterable

from schemas.dependencies import MAX_NAMES
from schemas.request import Request

MAX_STORED_BYTES = 96 * 1024
"""The most bytes that a request may add to its Job. A body has at most 64 KiB, so only texts that grow are refused."""

_CONTROLS = [chr(code) for code in range(0x20)] + ["<", ">", "&"]
_VARIABLE_BYTES = 96
"""How many bytes a variable takes beside its value and its name, which is also in `managedFields`."""


def stored_bytes(request: Request) -> int:
    """Return how many bytes a request adds to the JSON of its Job.

    A `$` is stored as `$$`, so that nothing is expanded. The API server writes `<`, `>`, `&` and control characters
    with six bytes each (https://pkg.go.dev/encoding/json#Marshal).
    """
    names = [variable.name for variable in request.environments]
    values = [*(request.args or ()), *(variable.value or "" for variable in request.environments)]
    size = _json_bytes(values) + sum(value.count("$") for value in values)
    size += 2 * _json_bytes(names) + _VARIABLE_BYTES * len(names)
    # In our annotation, and in the one for SlimFaas. More names than these have a fault of their own.
    return size + 2 * _json_bytes((request.depends_on or ())[:MAX_NAMES])


def _json_bytes(texts: Iterable[str]) -> int:
    """Return how long strings are in a list as the API server writes it."""
    return sum(
        3
        + len(text.encode("utf-8", "replace"))
        + 5 * sum(map(text.count, _CONTROLS))
        + sum(map(text.count, ('"', "\\")))
        + 3 * sum(map(text.count, ("\u2028", "\u2029")))
        for text in texts
    )
