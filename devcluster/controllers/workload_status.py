"""Helpers shared by Deployments and StatefulSets: counting pods, and hashing templates."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from devcluster.controllers.pods import available_in_seconds, is_ready
from devcluster.objects import Object

_HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # the same as for generated names
_HASH_LENGTH = 10


@dataclass(frozen=True)
class Count:
    """The progress of some pods; `next_seconds` until the next ready one counts as available, None when none will."""

    total: int
    ready: int
    available: int
    next_seconds: float | None


def count(pods: Iterable[Object], min_ready_seconds: int, now: datetime) -> Count:
    """Count the pods by state."""
    pods = list(pods)
    waits = [available_in_seconds(pod, min_ready_seconds, now) for pod in pods]
    pending = [wait for wait in waits if wait]
    return Count(
        total=len(pods),
        ready=sum(1 for pod in pods if is_ready(pod)),
        available=sum(1 for wait in waits if wait == 0),
        next_seconds=min(pending) if pending else None,
    )


def template_hash(template: Object) -> str:
    """Return a short hash of a pod template; it is a label of the pods."""
    number = int.from_bytes(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest())
    letters = []
    for _ in range(_HASH_LENGTH):
        number, index = divmod(number, len(_HASH_ALPHABET))
        letters.append(_HASH_ALPHABET[index])
    return "".join(letters)


def resolve_share(share: int | str | None, total: int, *, round_up: bool) -> int:
    """Return the number of pods for an int-or-percent such as `1` or `"25%"`; None means 25%."""
    if isinstance(share, int):
        return share
    part = total * int((share or "25%").removesuffix("%")) / 100
    return math.ceil(part) if round_up else math.floor(part)
