"""Causes for invalid fields, with the wording of `k8s.io/apimachinery/pkg/util/validation/field`."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from devcluster.errors import Cause, quote

IMMUTABLE = "field is immutable"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def required(field: str, detail: str = "") -> Cause:
    """Return the cause for a missing or empty value."""
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str = "") -> Cause:
    """Return the cause for a malformed value."""
    shown = f"Invalid value: {_shown(value)}"
    return Cause("FieldValueInvalid", f"{shown}: {detail}" if detail else shown, field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """Return the cause for a value that is not in `supported`, which is listed in the given order."""
    listed = ", ".join(quote(item) for item in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {listed}", field)


def forbidden(field: str, detail: str) -> Cause:
    """Return the cause for a well-formed value that is not allowed here."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def duplicate(field: str, value: Any) -> Cause:
    """Return the cause for a value that must be unique and is not."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)


def not_found(field: str, value: Any) -> Cause:
    """Return the cause for a reference to something that does not exist."""
    return Cause("FieldValueNotFound", f"Not found: {_shown(value)}", field)


def too_long(field: str, limit_bytes: int) -> Cause:
    """Return the cause for a value over its limit."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit_bytes} bytes", field)


def check_all(field: str, value: str, messages: Sequence[str]) -> list[Cause]:
    """Return one cause for each message about the same value."""
    return [invalid(field, value, message) for message in messages]


def check_not_negative(field: str, value: Any) -> list[Cause]:
    """Check that a number is zero or more; None passes."""
    if value is not None and value < 0:
        return [invalid(field, value, "must be greater than or equal to 0")]
    return []


def check_unchanged(field: str, new: Any, old: Any) -> list[Cause]:
    """Check that an immutable field has not changed."""
    return [] if new == old else [invalid(field, new, IMMUTABLE)]
