"""Causes for wrong fields, worded as `k8s.io/apimachinery/pkg/util/validation/field` words them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from devcluster.errors import Cause, quote

IMMUTABLE = "field is immutable"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def required(field: str, detail: str = "") -> Cause:
    """A value that is missing, or empty."""
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str = "") -> Cause:
    """A value of the wrong form."""
    shown = f"Invalid value: {_shown(value)}"
    return Cause("FieldValueInvalid", f"{shown}: {detail}" if detail else shown, field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """A value that is none of the possible ones; they are shown in the order given."""
    listed = ", ".join(quote(item) for item in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {listed}", field)


def forbidden(field: str, detail: str) -> Cause:
    """A well-formed value that isn't allowed here."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def duplicate(field: str, value: Any) -> Cause:
    """A value that must be unique and isn't."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)


def not_found(field: str, value: Any) -> Cause:
    """A reference to something that isn't there."""
    return Cause("FieldValueNotFound", f"Not found: {_shown(value)}", field)


def too_long(field: str, limit_bytes: int) -> Cause:
    """A value over its limit."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit_bytes} bytes", field)


def check_all(field: str, value: str, messages: Sequence[str]) -> list[Cause]:
    """One cause per message about the same value."""
    return [invalid(field, value, message) for message in messages]


def check_not_negative(field: str, value: Any) -> list[Cause]:
    """A number, when given, is zero or more."""
    if value is not None and value < 0:
        return [invalid(field, value, "must be greater than or equal to 0")]
    return []


def check_unchanged(field: str, new: Any, old: Any) -> list[Cause]:
    """A field that can't change after creation."""
    return [] if new == old else [invalid(field, new, IMMUTABLE)]
