"""Kubernetes objects as JSON: copies, timestamps and common metadata."""

import secrets
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

Object = dict[str, Any]

_T = TypeVar("_T")
# No vowels, so that no words arise, and no look-alikes; the same alphabet as the API server's.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_SUFFIX_LENGTH = 5
_GENERATED_PREFIX_LENGTH = 63 - _GENERATED_SUFFIX_LENGTH


def clone(value: _T) -> _T:
    """Copy JSON deeply.

    Several times as fast as `copy.deepcopy`, which would dominate the cost of a write.
    """
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}  # type: ignore[return-value]  # a dict stays one
    if isinstance(value, list):
        return [clone(item) for item in value]  # type: ignore[return-value]  # a list stays one
    return value


def metadata_of(obj: Mapping[str, Any]) -> Object:
    """Return the object's metadata; empty when it has none."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def key_of(namespace: str | None, name: str) -> str:
    """Return the key of a stored object; lists are sorted by it."""
    return f"{namespace or ''}/{name}"


def version_of(obj: Mapping[str, Any]) -> int:
    """Return the object's resourceVersion as a number; 0 when it has none."""
    version = metadata_of(obj).get("resourceVersion")
    return int(version) if version else 0


def generate_name(prefix: str) -> str:
    """Make a name from `metadata.generateName`: at most 63 characters."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_GENERATED_SUFFIX_LENGTH))
    return prefix[:_GENERATED_PREFIX_LENGTH] + suffix


def to_time(moment: datetime) -> str:
    """Format a time as a `metav1.Time`: RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(moment: datetime) -> str:
    """Format a time as a `metav1.MicroTime`: RFC 3339 in UTC, with microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time.

    Raises:
        ValueError: the text is not an RFC 3339 time with an offset.
    """
    # fromisoformat also accepts other ISO 8601 forms, which the server refuses.
    if len(text) < len("2006-01-02T15:04:05Z") or text[10] != "T" or any(c not in _TIME_CHARACTERS for c in text):
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"an RFC 3339 time needs an offset: {text!r}")
    return moment


_TIME_CHARACTERS = frozenset(string.digits + "-:.+TZ")


def now() -> str:
    """Return the current time as a `metav1.Time`."""
    return to_time(datetime.now(UTC))
