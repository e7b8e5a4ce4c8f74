"""Counting the calls: which, with what answer, and for requests to start a run what became of them."""

import time

from flask import Flask, Response, g, request

from app.api.access_log import RequestRecord, known_method, request_record
from app.api.problems import reason_of
from app.auth.authorizer import NotTrustedError
from app.telemetry import metrics
from app.telemetry.logs import request_id
from app.telemetry.spans import describe_request_span

_START = "jobs.start"


def count_requests(app: Flask) -> None:
    """Have every call of this application counted, whichever route it takes and however it ends."""
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    status, known = response.status_code, request_record()
    call = request.endpoint or metrics.UNKNOWN
    metrics.HTTP_RESPONSES.labels(call, str(status)).inc()
    metrics.HTTP_SECONDS.labels(call).observe(time.perf_counter() - g.get("began", time.perf_counter()))
    if request.endpoint == _START:
        outcome = known.outcome if status < 400 else "refused" if status < 500 else "failed"
        # Who can read the metrics must not learn from them that there is a definition which was hidden from the caller.
        shown = known.entered or known.reason == reason_of(NotTrustedError())
        metrics.REQUESTS.labels(known.definition if shown else metrics.UNKNOWN, outcome, known.reason).inc()
    _describe(known, status)
    return response


def _describe(known: RequestRecord, status: int) -> None:
    """Say in the call's span what has become of it; nothing that a caller has made up, as in the log."""
    route = request.url_rule.rule if request.url_rule else ""
    method = known_method(request.method)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "http.route": route,
        "slimfaas.definition": known.definition,
        "slimfaas.run": known.run_id,
        "slimfaas.request_id": request_id.get(),
        "error.type": known.reason,
    }
    told = {name: value for name, value in attributes.items() if value != ""}
    describe_request_span(f"{method} {route}".rstrip(), told, failed=status >= 500)
