"""What the service says about each call: who, what, and the outcome.

Nothing that a caller has made up is written: names are those of the configuration and the API server, addresses are
read and written anew, ids and methods are known ones. No values: of what a request overrides, only the fields' names.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, request

from app.auth.addresses import read_address
from app.auth.authorizer import AuthDecision
from app.domain.names import is_id

log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
_READING = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class RequestRecord:
    """What has become known of the present call.

    Attributes:
        definition: its name; only one that is in the configuration.
        entered: whether the caller may use that definition.
        run_id: of the run that it is about.
        fields: the names of those that its request overrides.
        decision: about its caller, where somebody had to ask.
        outcome: what became of a request to start a run that was not refused: `accepted`, `replayed` or `tried`.
        reason: why the call was refused, see `app.api.problems.reason_of`.
    """

    definition: str = ""
    entered: bool = False
    run_id: str = ""
    fields: tuple[str, ...] = ()
    decision: AuthDecision | None = None
    outcome: str = "accepted"
    reason: str = ""


def record(**known: Any) -> None:
    """Add to the `RequestRecord` of the present call."""
    found = request_record()
    for name, value in known.items():
        setattr(found, name, value)


def request_record() -> RequestRecord:
    """What has become known of the present call so far."""
    found: RequestRecord | None = g.get("record")
    if found is None:
        found = g.record = RequestRecord()
    return found


def known_method(method: str) -> str:
    """A method, or `other`: callers can make up any word."""
    return method if method in _METHODS else "other"


def log_requests(app: Flask) -> None:
    """Have every call of this application written to the log, whichever route it takes and however it ends.

    Calls that change something, and those that are refused for who makes them, at INFO; others at DEBUG.
    """
    app.after_request(_write)


def _write(response: Response) -> Response:
    decision = request_record().decision
    refused = response.status_code in (401, 403) or (decision is not None and not decision.trusted)
    level = logging.DEBUG if request.method in _READING and not refused else logging.INFO
    if log.isEnabledFor(level):
        fields = _fields(request_record(), response.status_code)
        log.log(level, "%s", _line(fields), extra={"fields": fields})
    return response


def _fields(known: RequestRecord, status: int) -> dict[str, str | int]:
    decision = known.decision
    connection = read_address(request.remote_addr)
    client = decision.address if decision is not None and decision.address != connection else None
    asked_id = str((request.view_args or {}).get("run_id", ""))
    fields: dict[str, str | int] = {
        "method": known_method(request.method),
        "status": status,
        "definition": known.definition,
        "run": known.run_id or (asked_id if is_id(asked_id) else ""),
        "fields": ",".join(known.fields),
        "address": str(connection or "unknown"),
        "forwarded-for": str(client or ""),
        "pod": decision.pod if decision else "",
        "account": str(decision.account or "") if decision else "",
        "caller": decision.reason if decision else "",
        "reason": known.reason,
    }
    return {name: value for name, value in fields.items() if value != ""}


def _line(fields: Mapping[str, str | int]) -> str:
    """The fields as one line for people: the method, and the others by name."""
    return " ".join(str(value) if name == "method" else f"{name}={value}" for name, value in fields.items())
