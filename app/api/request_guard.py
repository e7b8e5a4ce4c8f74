"""Checks every request before its route: its target, its host, and the web page that has sent it, if one has.

Every response says that nobody may store it, unless its route says otherwise: what it shows depends on its caller, whom
a cache between does not look up.

Pages of the origins that the settings allow get the headers of CORS (https://fetch.spec.whatwg.org/#http-cors-protocol),
without which browsers don't show them the responses.
"""

from collections.abc import Iterable

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed

from app.api.params.request_target import check_target
from app.api.public_url_middleware import SENT_HOST
from app.auth.origins import (
    BrowserRequest,
    ForeignHostError,
    ForeignOriginError,
    is_foreign,
    is_own_host,
    parse_host,
    parse_origin,
)

_PROBES = frozenset({"health.live", "health.ready", "metrics.read"})
"""Endpoints for the kubelet and Prometheus, which use any host name. They change nothing."""

_REQUEST_HEADERS = (
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, If-None-Match, Prefer, X-Request-Id, traceparent, "
    "tracestate"
)
_RESPONSE_HEADERS = (
    "Age, ETag, Idempotency-Replayed, Link, Location, Preference-Applied, Retry-After, SlimFaas-Runs, "
    "SlimFaas-Schedules, "
    "WWW-Authenticate, X-Request-Id"
)
_PREFLIGHT_SECONDS = 600
"""How long a browser may remember what it may send."""


def guard_requests(app: Flask, origins: Iterable[str], hosts: Iterable[str]) -> None:
    """Check every request of this application before its route.

    Args:
        app: the application.
        origins: the origins of the pages that may use it, besides its own.
        hosts: its host names; see `is_own_host`.

    Raises:
        ValueError: one of them is malformed.
    """
    allowed_origins, allowed_hosts = frozenset(map(parse_origin, origins)), frozenset(map(parse_host, hosts))

    def check() -> Response | None:
        environ = request.environ
        sent_host = environ.get(SENT_HOST)
        # `RAW_URI` is gunicorn's: the target as in the request line.
        check_target(request.method, environ.get("RAW_URI") or environ["PATH_INFO"], sent_host)
        if request.endpoint in _PROBES:
            return None
        if not is_own_host(sent_host, environ["SERVER_NAME"], allowed_hosts):
            raise ForeignHostError(request.method)
        if request.headers.get("Origin") in allowed_origins:
            return _answer_preflight()
        if is_foreign(_read_browser_request()):
            raise ForeignOriginError(request.method)
        return None

    def add_safe_defaults(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    def add_headers(response: Response) -> Response:
        response.vary.add("Origin")  # so that no cache shows one page's response to another
        if (origin := request.headers.get("Origin")) in allowed_origins and origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
        return response

    app.before_request(check)
    app.after_request(add_safe_defaults)
    if allowed_origins:
        app.after_request(add_headers)


def _read_browser_request() -> BrowserRequest:
    headers = request.headers
    return BrowserRequest(
        method=request.method,
        host=headers.get("Host", ""),
        origin=headers.get("Origin"),
        site=headers.get("Sec-Fetch-Site"),
        mode=headers.get("Sec-Fetch-Mode"),
        destination=headers.get("Sec-Fetch-Dest"),
    )


def _answer_preflight() -> Response | None:
    """Return what the page may send to this path; `None`: the request is no preflight of a known path."""
    unrouted = request.routing_exception
    wanted = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or wanted is None or not isinstance(unrouted, MethodNotAllowed):
        return None
    headers = {
        "Access-Control-Allow-Methods": ", ".join(sorted(unrouted.valid_methods or ())),
        "Access-Control-Allow-Headers": _REQUEST_HEADERS,
        "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
    }
    return Response(status=204, headers=headers)
