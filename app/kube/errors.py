"""The errors of calls to the API server, made in one place from its responses and from the client's errors.

Each error answers the two questions that matter after a failed call: whether a write may have been carried out all the
same (`outcome_unknown`), and whether the same call may succeed soon (`retryable`).
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from app.common.errors import RETRY_SECONDS, ErrorKind, ServiceError
from schemas.faults import Fault, pointer_to


class ClusterError(ServiceError):
    """The API server did not carry out a call.

    Attributes:
        message: the API server's own words, if it gave any.
        outcome_unknown: whether a write that failed like this may have been stored.
        retryable: whether the cause lies outside of the call, so that the same call may succeed a moment later.
        retry_after_seconds: how long the API server asks clients to wait; `None`: it does not say.
    """

    kind = ErrorKind.UNAVAILABLE
    outcome_unknown = False
    retryable = False
    retry_after_seconds: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def detail(self) -> str:
        """What the caller is told. The API server's own words are left out: they may reveal too much of the cluster."""
        return "the Kubernetes API server can't do this now"

    @property
    def retry_seconds(self) -> int:
        """When the caller may try again: not before the API server allows it."""
        return max(RETRY_SECONDS, self.retry_after_seconds or 0)


class NotFoundError(ClusterError):
    """404: the object does not exist."""


class AlreadyExistsError(ClusterError):
    """409 with reason AlreadyExists: an object of this name exists."""


class ConflictError(ClusterError):
    """409: the object has changed since its resourceVersion was read, or its quota is being updated right now."""


class ExpiredError(ClusterError):
    """410: the resourceVersion or the continue token is too old."""


class InvalidError(ClusterError):
    """400 or 422: the API server does not accept the object.

    Attributes:
        causes: `(field, message)` pairs, as the API server gave them.
    """

    kind = ErrorKind.INVALID

    def __init__(self, message: str, causes: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.causes = causes

    @property
    def detail(self) -> str:
        """Where there are no causes, an admission policy gives its reason in the message alone."""
        return "Kubernetes does not accept this run" + ("" if self.causes else f": {self.message}")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The causes, each field path as a JSON pointer."""
        return tuple(Fault(pointer_to(*field_steps(field)), message) for field, message in self.causes)


class ForbiddenError(ClusterError):
    """401 or 403: this service lacks the right, or a rule of the cluster refuses the call."""


class QuotaError(ForbiddenError):
    """403: a ResourceQuota of the namespace is used up (https://kubernetes.io/docs/concepts/policy/resource-quotas/)."""


class DeniedError(ForbiddenError):
    """403: an admission policy or webhook refuses it."""


class ThrottledError(ClusterError):
    """429: the API server is busy and has not processed the request."""

    retryable = True


class OversizeError(ClusterError):
    """The response is longer than the caller accepts; a smaller page may be short enough."""


class UnreachableError(ClusterError):
    """There was no connection, so nothing was sent."""

    retryable = True


class UnavailableError(ClusterError):
    """5xx, a broken connection, or no response in time: it is unknown whether the request was carried out."""

    outcome_unknown = True
    retryable = True


class NotServedError(UnavailableError):
    """404 without an object: the cluster has no such kind, or something before the API server has answered."""


_LONGEST_RETRY_SECONDS = 30
"""The longest `Retry-After` that is obeyed. Priority and fairness asks for one second, and a proxy must not blind the
dispatcher for long."""


def error_of(status: int, body: bytes, retry_after: str | None = None) -> ClusterError:
    """Turn a response that is no success into an error.

    Args:
        status: the HTTP status.
        body: a `metav1.Status` as JSON, as the API server writes it; or anything, from a proxy.
        retry_after: the header of this name; `None`: there is none. A date in it is ignored.
    """
    error = _error_of(status, body)
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 9:
        error.retry_after_seconds = min(int(retry_after), _LONGEST_RETRY_SECONDS)
    return error


def _error_of(status: int, body: bytes) -> ClusterError:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        answer = {}
    message = on_one_line(str(answer.get("message") or f"the API server answered {status}"))
    match status:
        case 404:  # that an object is gone is for the API server to say, and not for a proxy
            return NotFoundError(message) if answer else NotServedError(message)
        case 409 if answer.get("reason") == "AlreadyExists":
            return AlreadyExistsError(message)
        case 409:
            return ConflictError(message)
        case 410:
            return ExpiredError(message)
        case 400 | 422:
            return InvalidError(message, _causes_in(answer) or _unknown_fields_in(message))
        case 401 | 403:
            return _refusal(message)
        case 429:
            return ThrottledError(message)
        case _:
            return UnavailableError(message)


def _unknown_fields_in(message: str) -> tuple[tuple[str, str], ...]:
    """Return the fields that the API server does not know. It names them in the message alone."""
    return tuple((field, "unknown field") for field in re.findall(r'unknown field "([^"]+)"', message))


def field_steps(field: str) -> list[str]:
    """Split a field path as Kubernetes writes it: `spec.template.spec.containers[0].image`."""
    return [step for step in field.replace("[", ".").replace("]", "").split(".") if step]


def warnings_in(headers: Iterable[str]) -> list[str]:
    """Return the texts of `Warning` headers as the API server writes them: `299 - "text"` (RFC 7234, section 5.5)."""
    texts = re.findall(r'299 \S+ "((?:[^"\\]|\\.)*)"', ", ".join(headers))
    return [on_one_line(re.sub(r"\\(.)", r"\1", text)) for text in texts]


def on_one_line(text: str) -> str:
    """Make a text safe for logs and responses: it may quote what callers wrote."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def _refusal(message: str) -> ForbiddenError:
    """Return the kind of a refusal. The API server gives all of them the reason Forbidden, and different words."""
    if "exceeded quota" in message:
        return QuotaError(message)
    return (
        DeniedError(message)
        if "denied the request" in message or "denied request" in message
        else ForbiddenError(message)
    )


def _causes_in(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    details = status.get("details") or {}
    return tuple((str(cause.get("field", "")), str(cause.get("message", ""))) for cause in details.get("causes") or ())
