"""What a definition with a `Queue` of Kueue, and a request for it, may say."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from schemas.definition import Definition
from schemas.faults import Fault, pointer_to

if TYPE_CHECKING:
    from schemas.request import Request  # with marshmallow, which takes longer to import than all of `validate`

_NO_QUEUE_TIMEOUT = (
    "not for runs that are handed to Kueue: to end a queued run, the service would have to start it for a moment, and "
    "Kueue would stop it; leave it out"
)


def kueue_faults(path: tuple[str, ...], entry: object) -> Iterator[Fault]:
    """Find fields of a definition that have no effect without its `Queue`, or that the `Queue` makes impossible.

    Args:
        path: of the definition, for the pointers.
        entry: the definition, of any type.
    """
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    if "Queue" not in fields:
        for field in ("Priority", "PrioritiesWhitelist"):
            if field in fields:
                yield Fault(pointer_to(*path, field), "needs Queue beside it, which is missing")
    elif "QueueTimeoutSeconds" in fields:
        yield Fault(pointer_to(*path, "QueueTimeoutSeconds"), _NO_QUEUE_TIMEOUT)


def request_faults(definition: Definition, request: "Request") -> Iterator[Fault]:
    """Find a priority that the definition does not allow, and a time limit that its `Queue` makes impossible."""
    allowed = (definition.priority, *definition.priorities_whitelist)
    if request.priority is not None and request.priority not in allowed:
        yield Fault("/Priority", "not a priority that this definition allows")
    if request.queue_timeout_seconds is not None and definition.queue is not None:
        yield Fault("/QueueTimeoutSeconds", _NO_QUEUE_TIMEOUT)
