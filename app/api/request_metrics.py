"""Counts requests by route and status, and requests to start a run by outcome; completes the request's span."""

import time

from flask import Flask, Response, g, request

from app.api.problems import reason_of
from app.api.request_record import RequestRecord, current_record, known_method
from app.auth.authorizer import NotPermittedError, NotTrustedError
from app.telemetry import metrics
from app.telemetry.logs import request_id
from app.telemetry.spans import describe_request_span

_REFUSED_OPENLY = (reason_of(NotTrustedError()), reason_of(NotPermittedError("")))
_START_ENDPOINT = "jobs.start"


def count_requests(app: Flask) -> None:
    """Count every request of this application, whichever route it takes and however it ends."""
    app.before_request(_start_timer)
    app.after_request(_count)


def _start_timer() -> None:
    g.started_at = time.perf_counter()


def _count(response: Response) -> Response:
    status, known = response.status_code, current_record()
    endpoint = request.endpoint or metrics.UNKNOWN
    metrics.HTTP_RESPONSES.labels(endpoint, str(status)).inc()
    metrics.HTTP_SECONDS.labels(endpoint).observe(time.perf_counter() - g.get("started_at", time.perf_counter()))
    if request.endpoint == _START_ENDPOINT:
        outcome = known.outcome if status < 400 else "refused" if status < 500 else "failed"
        # The metrics must not reveal a definition that is hidden from the caller.
        named = known.access_granted or known.reason in _REFUSED_OPENLY
        metrics.REQUESTS.labels(known.definition if named else metrics.UNKNOWN, outcome, known.reason).inc()
    _describe_span(known, status)
    return response


def _describe_span(known: RequestRecord, status: int) -> None:
    """Set the attributes of the request's span; like the access log, it contains no text that a caller made up."""
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
    present = {name: value for name, value in attributes.items() if value != ""}
    describe_request_span(f"{method} {route}".rstrip(), present, failed=status >= 500)
