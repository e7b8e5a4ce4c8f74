"""What can be wrong with a call, as examples of the exceptions that say so; `app.errors` tells what is answered."""

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from app.cluster.errors import ClusterError, DeniedError, InvalidError, QuotaError
from app.services.callers import NotTrustedError
from app.services.definitions import UnknownDefinitionError
from app.services.deletion import NotCancelledError
from app.services.gate import BusyError
from app.services.identities import UndecidedError
from app.services.queues import QueueFullError, QueueUnknownError
from app.services.runs import UnknownRunError
from app.services.storing import KeyReusedError, KeyTakenError, NotStoredError
from app.services.streams import TooManyStreamsError
from app.services.tokens import InvalidTokenError
from schemas.documents import NotJson
from schemas.faults import Fault, Refused

_AWAY = ClusterError("example")

EVERYWHERE: tuple[Exception, ...] = (RuntimeError("example"),)
"""A defect of ours."""

OF_A_CALLER: tuple[Exception, ...] = (InvalidTokenError("example"), UndecidedError("example"))

OF_THE_DOOR: tuple[Exception, ...] = (
    UnknownDefinitionError("example"),
    NotTrustedError("example"),
    *OF_A_CALLER,
)

OF_A_URL: tuple[Exception, ...] = (BadRequest("the URL has a fragment, which is no part of a request"),)

OF_A_QUERY: tuple[Exception, ...] = (BadRequest("sort: unknown query parameter"),)

OF_A_BODY: tuple[Exception, ...] = (
    NotJson("Expecting value at line 1, column 1"),
    RequestEntityTooLarge("the body is larger than 64 KiB"),
    Refused([Fault("/Image", "not an image that this job allows")]),
)

OF_THE_CLUSTER: tuple[Exception, ...] = (_AWAY, BusyError("example"))

OF_STORING: tuple[Exception, ...] = (
    InvalidError("example", causes=(("spec.template.spec.containers[0].image", "Required value"),)),
    NotStoredError(_AWAY, in_doubt=False),
    NotStoredError(_AWAY, in_doubt=True),
    NotStoredError(QuotaError("example"), in_doubt=False),
    NotStoredError(DeniedError("example"), in_doubt=False),
    BusyError("example"),
    QueueFullError("example", 1000, 4),
    QueueFullError(None, 10000, 4),
    QueueUnknownError("example"),
)

OF_KEYS: tuple[Exception, ...] = (KeyReusedError("example"), KeyTakenError("example"))

OF_CANCELLING: tuple[Exception, ...] = (
    NotCancelledError(_AWAY, in_doubt=False),
    NotCancelledError(_AWAY, in_doubt=True),
    BusyError("example"),
)

OF_EMPTYING: tuple[Exception, ...] = (
    NotCancelledError(_AWAY, in_doubt=True, deleted=3),
    _AWAY,
    BusyError("example"),
)

OF_WAITING: tuple[Exception, ...] = (TooManyStreamsError("example"),)

OF_A_RUN: tuple[Exception, ...] = (UnknownRunError("example"),)
