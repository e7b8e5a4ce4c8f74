"""Every exception as the caller sees it: an RFC 9457 problem document. The only place that knows HTTP statuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException

from app.cluster.errors import ClusterError, DeniedError, InvalidError, QuotaError, ThrottledError
from app.services.callers import NotTrustedError
from app.services.definitions import UnknownDefinitionError
from app.services.deletion import NotCancelledError
from app.services.gate import BusyError
from app.services.health import StuckError
from app.services.identities import UndecidedError
from app.services.logs import NoLogError, UnknownAttemptError
from app.services.queues import QueueFullError, QueueUnknownError
from app.services.runs import UnknownRunError
from app.services.storing import KeyReusedError, KeyTakenError, NotStoredError
from app.services.streams import TooManyStreamsError
from app.services.tokens import InvalidTokenError
from schemas.documents import NotJson
from schemas.faults import Fault, Refused, pointer_to
from schemas.problem import ProblemSchema

CONTENT_TYPE = "application/problem+json"

# RFC 9110's names, which Python has only from 3.13 on.
_TITLES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}

_SCHEMA = ProblemSchema()

_RETRY_SECONDS = 2
"""What `Retry-After` says while the API server is away, or too many wait for it."""


_QUOTA_RETRY_SECONDS = 30
"""What it says where a quota is used up: nobody can tell when that ends, and asking costs a call."""

_CHALLENGE = 'Bearer realm="slimfaas-jobs", error="invalid_token"'
"""What 401 carries: https://www.rfc-editor.org/rfc/rfc6750#section-3."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (https://www.rfc-editor.org/rfc/rfc9457).

    Attributes:
        status: the HTTP status.
        detail: what is wrong with this call, for people.
        errors: each fault of the request's body.
        headers: what the answer carries besides its content type.
    """

    status: HTTPStatus
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in words."""
        return title_of(self.status)

    def document(self) -> dict[str, Any]:
        """The document as JSON; `errors` only where there are any."""
        document: dict[str, Any] = _SCHEMA.dump(self)
        return document


def reason_of(error: Exception) -> str:
    """What refused a call, as one of a bounded number of words: the name of its kind of error."""
    if isinstance(error, NotStoredError):
        return reason_of(error.cause)
    foreseen = (
        *_ALWAYS,
        NotJson,
        Refused,
        QueueFullError,
        UnknownAttemptError,
        NoLogError,
        ClusterError,
        HTTPException,
    )
    return type(error).__name__.removesuffix("Error") if isinstance(error, foreseen) else "Defect"


def title_of(status: HTTPStatus) -> str:
    """A status in words."""
    return _TITLES.get(status, status.phrase)


_RETRY_LATER = {"Retry-After": str(_RETRY_SECONDS)}

OF_THE_WIRE: Mapping[int, Problem] = {
    status.value: Problem(status, detail)
    for status, detail in {
        HTTPStatus.BAD_REQUEST: "what came is not HTTP: a malformed request line or header, or two lengths",
        HTTPStatus.REQUEST_URI_TOO_LONG: "the request line is longer than 4094 bytes",
        HTTPStatus.EXPECTATION_FAILED: "what the header Expect asks for can't be done",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "there are more than 64 header fields, one is longer than 8190 "
        "bytes, or all together than 32 KiB",
        HTTPStatus.INTERNAL_SERVER_ERROR: "something went wrong; it is in the service's log",
        HTTPStatus.NOT_IMPLEMENTED: "the transfer coding is not known",
    }.items()
}
"""What is said where gunicorn refuses a request before the service sees anything of it (app/wire.py)."""

_ALWAYS: Mapping[type[Exception], Problem] = {
    UnknownDefinitionError: Problem(HTTPStatus.NOT_FOUND, "there is no such job"),
    UnknownRunError: Problem(HTTPStatus.NOT_FOUND, "there is no such run"),
    NotTrustedError: Problem(HTTPStatus.FORBIDDEN, "this job is private"),
    InvalidTokenError: Problem(
        HTTPStatus.UNAUTHORIZED, "the token is not valid", headers={"WWW-Authenticate": _CHALLENGE}
    ),
    BusyError: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too many calls wait for the Kubernetes API server; nothing has been done",
        headers=_RETRY_LATER,
    ),
    QueueUnknownError: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "it is not known yet how many runs are queued; nothing has been done",
        headers=_RETRY_LATER,
    ),
    KeyReusedError: Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "this Idempotency-Key belongs to an earlier call that asked for something else; nothing has been done",
    ),
    KeyTakenError: Problem(
        HTTPStatus.CONFLICT, "this Idempotency-Key can't be used, another one can; nothing has been done"
    ),
    StuckError: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the dispatcher gets nowhere", headers=_RETRY_LATER),
    TooManyStreamsError: Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too many calls wait for runs or read logs; nothing has been done",
        headers=_RETRY_LATER,
    ),
}
"""What is always said of an error, whatever it carries."""


def problem_of(error: Exception) -> Problem:
    """Say what an exception means to the caller; one that nobody foresaw tells the caller nothing."""
    if always := _ALWAYS.get(type(error)):
        return always
    match error:
        case NotJson():
            return Problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}")
        case Refused():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request can't be applied as given", error.faults)
        case QueueFullError():
            return _problem_of_full_queue(error)
        case UnknownAttemptError():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case NoLogError():
            return Problem(HTTPStatus.CONFLICT, str(error))
        case ClusterError():
            return _problem_of_cluster(error)
        case HTTPException():
            return _problem_of_http(error)
        case _:
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong; it is in the service's log")


def _problem_of_full_queue(error: QueueFullError) -> Problem:
    """Say which bound it is; how many runs of other definitions wait is not for everybody to know."""
    if error.definition is None:
        detail = "the queues of this service are full (SLIMFAAS_MAX_QUEUED); nothing has been done"
    else:
        detail = f"the queue of this job is full (MaxQueued: {error.most}); nothing has been done"
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(error.retry_after_seconds)})


def _problem_of_cluster(error: ClusterError) -> Problem:
    if isinstance(error, InvalidError):
        causes = tuple(Fault(pointer_to(*_steps(where)), message) for where, message in error.causes)
        why = "" if causes else f": {error.message}"  # an admission policy gives its reason in the message alone
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"Kubernetes does not accept this run{why}", causes)
    if isinstance(error, UndecidedError):
        return _unavailable("the Kubernetes API server can't say who calls; nothing has been done", error)
    detail = "the Kubernetes API server can't do this now"
    if isinstance(error, NotStoredError):
        stored = "may or may not have been stored" if error.may_have_happened else "has not been stored"
        detail = f"{_reason_of(error.cause) or detail}; the run {stored}"
        if isinstance(error.cause, QuotaError):
            retry_later = {"Retry-After": str(error.retry_after_seconds or _QUOTA_RETRY_SECONDS)}
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=retry_later)
    if isinstance(error, NotCancelledError):
        detail = f"{detail}; {_what_is_cancelled(error)}; repeating the call is safe"
    return _unavailable(detail, error)


def _what_is_cancelled(error: NotCancelledError) -> str:
    if error.deleted is None:
        return f"the run {'may or may not have' if error.may_have_happened else 'has not'} been cancelled"
    more = ", and some of the others may have been" if error.may_have_happened else ""
    return f"{error.deleted} of the queued runs have been deleted{more}"


def _reason_of(error: ClusterError) -> str:
    """Why a run that nothing is wrong with is refused, as far as that is for its caller to know; empty: not at all."""
    match error:
        case QuotaError():
            return "a quota of the namespace is used up"
        case DeniedError():
            return "an admission policy of the cluster refuses the run"
        case ThrottledError():
            return "the Kubernetes API server is too busy"
        case _:
            return ""


def _unavailable(detail: str, error: ClusterError) -> Problem:
    retry_seconds = max(_RETRY_SECONDS, error.retry_after_seconds or 0)
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_seconds)})


def _steps(where: str) -> list[str]:
    """A field path as Kubernetes writes it, `spec.template.spec.containers[0].image`, as steps of a pointer."""
    return [step for step in where.replace("[", ".").replace("]", "").split(".") if step]


def _problem_of_http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.code or 500)
    headers = {
        name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after", "location")
    }
    return Problem(status, error.description or status.description or status.phrase, (), headers)
