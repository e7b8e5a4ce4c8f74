"""Examples of the errors that operations can raise. `app.api.problems` makes the documented problems of them."""

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from app.auth.authorizer import NotTrustedError
from app.auth.identities import UndecidedError
from app.auth.tokens import InvalidTokenError
from app.common.concurrency_limiter import BusyError
from app.definitions.registry import UnknownDefinitionError
from app.kube.errors import ClusterError, DeniedError, InvalidError, QuotaError
from app.runs.create import CreateFailedError, KeyReusedError, KeyTakenError
from app.runs.deletion import CancelFailedError
from app.runs.limits.long_requests import TooManyLongRequestsError
from app.runs.limits.queue_limiter import QueueFullError, QueueUnknownError
from app.runs.reader import UnknownRunError
from schemas.documents import NotJson
from schemas.faults import Fault, Refused

_UNAVAILABLE = ClusterError("example")

ALWAYS: tuple[Exception, ...] = (RuntimeError("example"),)
"""A defect of this service."""

CALLER: tuple[Exception, ...] = (InvalidTokenError("example"), UndecidedError("example"))

ACCESS: tuple[Exception, ...] = (
    UnknownDefinitionError("example"),
    NotTrustedError("example"),
    *CALLER,
)

URL: tuple[Exception, ...] = (BadRequest("the URL has a fragment (#), which a request must not contain"),)

QUERY: tuple[Exception, ...] = (BadRequest("sort: unknown query parameter"),)

BODY: tuple[Exception, ...] = (
    NotJson("Expecting value at line 1, column 1"),
    RequestEntityTooLarge("the body is larger than 64 KiB"),
    Refused([Fault("/Image", "not an image that this job allows")]),
)

API_SERVER: tuple[Exception, ...] = (_UNAVAILABLE, BusyError("example"))

CREATE: tuple[Exception, ...] = (
    InvalidError("example", causes=(("spec.template.spec.containers[0].image", "Required value"),)),
    CreateFailedError(_UNAVAILABLE, in_doubt=False),
    CreateFailedError(_UNAVAILABLE, in_doubt=True),
    CreateFailedError(QuotaError("example"), in_doubt=False),
    CreateFailedError(DeniedError("example"), in_doubt=False),
    BusyError("example"),
    QueueFullError("example", 1000, 4),
    QueueFullError(None, 10000, 4),
    QueueUnknownError("example"),
)

IDEMPOTENCY: tuple[Exception, ...] = (KeyReusedError("example"), KeyTakenError("example"))

CANCEL: tuple[Exception, ...] = (
    CancelFailedError(_UNAVAILABLE, in_doubt=False),
    CancelFailedError(_UNAVAILABLE, in_doubt=True),
    BusyError("example"),
)

EMPTY_QUEUE: tuple[Exception, ...] = (
    CancelFailedError(_UNAVAILABLE, in_doubt=True, deleted=3),
    _UNAVAILABLE,
    BusyError("example"),
)

WAITING: tuple[Exception, ...] = (TooManyLongRequestsError("example"),)

RUN: tuple[Exception, ...] = (UnknownRunError("example"),)
