"""The names of the workloads that a run depends on: their syntax, and how many of them there may be."""

import re
from collections.abc import Iterable

WORKLOAD_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""The name of a Deployment or StatefulSet: a DNS subdomain of at most `WORKLOAD_NAME_LENGTH` characters."""

WORKLOAD_NAME_LENGTH = 253

MAX_NAMES = 64
"""The most names of a definition, and of a run."""

MAX_NAMES_BYTES = 4096
"""The most bytes of these names together."""

MAX_REQUEST_NAMES = 32
"""The most names of a request that differ from the definition's."""

MAX_REQUEST_NAMES_BYTES = 1024
"""The most bytes of these names together: the dispatcher keeps the names of every queued run in memory."""

_NAME = re.compile(WORKLOAD_NAME, re.ASCII)


def is_workload_name(text: str) -> bool:
    """Return whether a Deployment or StatefulSet can have this name."""
    return len(text) <= WORKLOAD_NAME_LENGTH and _NAME.fullmatch(text) is not None


def count_bytes(names: Iterable[str]) -> int:
    """Return how many bytes the names have together. They are ASCII."""
    return sum(map(len, names))
