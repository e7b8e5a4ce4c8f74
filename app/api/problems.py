"""Writes every error response as a problem document (RFC 9457).

This is the only module that maps errors to HTTP statuses. `app/kube/errors.py` says which kind of error an answer of
the API server is, or its silence.
"""

import logging
from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from app.api.request_record import record
from app.api.responses import json_response
from app.common.errors import ErrorKind, ServiceError
from schemas.documents import NotJson
from schemas.faults import Refused
from schemas.problem import CONTENT_TYPE, Problem

log = logging.getLogger(__name__)

_STATUSES = {
    ErrorKind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorKind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorKind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorKind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorKind.CONFLICT: HTTPStatus.CONFLICT,
    ErrorKind.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorKind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}

_CHALLENGE = 'Bearer realm="slimfaas-jobs", error="invalid_token"'
"""`WWW-Authenticate` of a 401: https://www.rfc-editor.org/rfc/rfc6750#section-3."""

_KEPT_HEADERS = frozenset({"allow", "retry-after", "location", "accept-encoding"})
"""The headers of werkzeug's errors that a problem document keeps."""


def register_problem_handler(app: Flask) -> None:
    """Make every error of this application a problem document, including those of Flask and werkzeug."""
    app.register_error_handler(Exception, _respond)


def reason_of(error: Exception) -> str:
    """Return why a request failed as one word of a bounded set; `Defect` for an error that no code expects."""
    if isinstance(error, ServiceError):
        return error.reason
    return type(error).__name__ if isinstance(error, NotJson | Refused | HTTPException) else "Defect"


def problem_of(error: Exception) -> Problem:
    """Return the problem document of an error. An unexpected error reveals nothing to the caller."""
    match error:
        case ServiceError():
            return Problem(_STATUSES[error.kind], error.detail, error.faults, _headers_of(error))
        case NotJson():
            return Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}")
        case Refused():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request can't be applied as given", error.faults)
        case HTTPException():
            return _problem_of_http(error)
        case _:
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the service's log has the details")


def _headers_of(error: ServiceError) -> dict[str, str]:
    match error.kind:
        case ErrorKind.UNAUTHENTICATED:
            return {"WWW-Authenticate": _CHALLENGE}
        case ErrorKind.TOO_MANY | ErrorKind.UNAVAILABLE:
            return {"Retry-After": str(error.retry_seconds)}
        case _:
            return {}


def _problem_of_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.code or 500)
    headers = {name: value for name, value in error.get_headers() if name.lower() in _KEPT_HEADERS}
    return Problem(status, error.description or status.description or status.phrase, (), headers)


def _respond(error: Exception) -> Response:
    problem = problem_of(error)
    record(reason=reason_of(error))
    if problem.status >= 500 and not isinstance(error, HTTPException):
        # The message of an expected error says enough; an unexpected one needs its traceback.
        log.error("%s: %s", problem.detail, error, exc_info=error if problem.status == 500 else None)
    return json_response(problem.document(), problem.status, problem.headers, content_type=CONTENT_TYPE)
