"""The access log: one line per request, with the caller, the definition, the run or schedule, and the outcome.

No line contains text that a caller made up: names come from the configuration or the API server, users' names are
escaped, addresses are parsed and formatted again, ids and methods are checked. Values never appear: of the fields that
a request overrides, only the names do.
"""

import logging
from collections.abc import Mapping

from flask import Flask, Response, request

from app.api.request_record import RequestRecord, current_record, known_method
from app.auth.addresses import read_address
from app.domain.names import is_id, is_schedule_id
from app.domain.user_names import write_user_name

log = logging.getLogger(__name__)

_READ_METHODS = frozenset({"GET", "HEAD"})


def log_requests(app: Flask) -> None:
    """Log every request of this application, whichever route it takes and however it ends.

    Requests that change something, and those of callers who were refused, are logged at INFO; all others at DEBUG.
    """
    app.after_request(_log_request)


def _log_request(response: Response) -> Response:
    decision = current_record().decision
    hidden = decision is not None and response.status_code == 404 and not current_record().access_granted
    refused = response.status_code in (401, 403) or hidden
    level = logging.DEBUG if request.method in _READ_METHODS and not refused else logging.INFO
    if log.isEnabledFor(level):
        fields = _build_fields(current_record(), response.status_code)
        log.log(level, "%s", _format(fields), extra={"fields": fields})
    return response


def _build_fields(known: RequestRecord, status: int) -> dict[str, str | int]:
    decision = known.decision
    connection = read_address(request.remote_addr)
    client = decision.address if decision is not None and decision.address != connection else None
    path_id, path_schedule = (str((request.view_args or {}).get(name, "")) for name in ("run_id", "schedule_id"))
    fields: dict[str, str | int] = {
        "method": known_method(request.method),
        "status": status,
        "definition": known.definition,
        "run": known.run_id or (path_id if is_id(path_id) else ""),
        "schedule": known.schedule_id or (path_schedule if is_schedule_id(path_schedule) else ""),
        "fields": ",".join(known.fields),
        "address": str(connection or "unknown"),
        "forwarded-for": str(client or ""),
        "pod": decision.pod if decision else "",
        "account": str(decision.account or "") if decision else "",
        "user": write_user_name(decision.user.name) if decision and decision.user and not decision.account else "",
        "caller": decision.reason if decision else "",
        "reason": known.reason,
    }
    return {name: value for name, value in fields.items() if value != ""}


def _format(fields: Mapping[str, str | int]) -> str:
    """Format the fields as one line: the method, then `name=value` for each other field."""
    return " ".join(str(value) if name == "method" else f"{name}={value}" for name, value in fields.items())
