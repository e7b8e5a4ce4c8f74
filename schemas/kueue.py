"""What a definition with a `Queue` of Kueue may say."""

from collections.abc import Iterator
from typing import Any

from schemas.faults import Fault, pointer_to

NO_QUEUE_TIMEOUT = (
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
                yield Fault(pointer_to(*path, field), "has an effect only beside Queue, which is missing")
    elif "QueueTimeoutSeconds" in fields:
        yield Fault(pointer_to(*path, "QueueTimeoutSeconds"), NO_QUEUE_TIMEOUT)
