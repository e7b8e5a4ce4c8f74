"""Collects what is known about the current request, for the access log, the metrics and the span."""

from dataclasses import dataclass
from typing import Any

from flask import g

from app.auth.authorizer import AuthDecision

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})


@dataclass(slots=True)
class RequestRecord:
    """What is known about the current request.

    Attributes:
        definition: the name of the definition; only a name that the configuration has.
        access_granted: whether the caller may use that definition.
        run_id: the id of the run that was started or found.
        schedule_id: the id of the schedule that was created or found.
        fields: the names of the fields that the request overrides.
        decision: the decision about the caller; `None` if none was needed.
        outcome: the outcome of a request to start a run that was not refused: `accepted`, `replayed` or `tried`.
        reason: why the request was refused; see `app.api.problems.reason_of`.
    """

    definition: str = ""
    access_granted: bool = False
    run_id: str = ""
    schedule_id: str = ""
    fields: tuple[str, ...] = ()
    decision: AuthDecision | None = None
    outcome: str = "accepted"
    reason: str = ""


def record(**changes: Any) -> None:
    """Set attributes of the current request's `RequestRecord`."""
    found = current_record()
    for name, value in changes.items():
        setattr(found, name, value)


def current_record() -> RequestRecord:
    """Return what is known about the current request so far."""
    found: RequestRecord | None = g.get("request_record")
    if found is None:
        found = g.request_record = RequestRecord()
    return found


def known_method(method: str) -> str:
    """Return the method if HTTP defines it, else `other`, because callers can invent any word."""
    return method if method in _METHODS else "other"
