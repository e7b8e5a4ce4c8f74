"""Counting the calls: which, with what answer, and for requests to start a run what became of them."""

import time

from flask import Flask, Response, g, request

from app.api.audit import notes
from app.observability import metrics

_START = "jobs.start"


def meter(app: Flask) -> None:
    """Have every call of this application counted, whichever route it takes and however it ends."""
    app.before_request(_begin)
    app.after_request(_count)


def _begin() -> None:
    g.began = time.perf_counter()


def _count(response: Response) -> Response:
    status, known = response.status_code, notes()
    call = request.endpoint or metrics.UNKNOWN
    metrics.HTTP_ANSWERS.labels(call, str(status)).inc()
    metrics.HTTP_SECONDS.labels(call).observe(time.perf_counter() - g.get("began", time.perf_counter()))
    if request.endpoint == _START:
        outcome = known.outcome if status < 400 else "refused" if status < 500 else "failed"
        metrics.REQUESTS.labels(known.definition or metrics.UNKNOWN, outcome, known.reason).inc()
    return response
