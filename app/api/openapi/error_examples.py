"""Examples of the errors that operations can raise. `app.api.problems` makes the documented problems of them."""

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from app.api.params.request_parsing import EncodedBodyError
from app.auth.authorizer import NotPermittedError, NotTrustedError, UntrustedOnPublicError
from app.auth.identities import UndecidedError
from app.auth.origins import ForeignHostError, ForeignOriginError
from app.auth.tokens import InvalidTokenError
from app.common.concurrency_limiter import BusyError
from app.definitions.registry import DefinitionsUnreadError, UnknownDefinitionError
from app.kube.errors import ClusterError, DeniedError, InvalidError, QuotaError
from app.runs.create import CreateFailedError, KeyReusedError, KeyTakenError
from app.runs.deletion import CancelFailedError
from app.runs.limits.long_requests import TooManyLongRequestsError
from app.runs.limits.queue_counter import Limit, QueueFull
from app.runs.limits.queue_limiter import QueueFullError, QueueUnknownError
from app.runs.reader import UnknownRunError
from app.runs.schedules.change import ChangeFailedError, ConfiguredScheduleError, DeletionUnfinishedError
from app.runs.schedules.create import InvalidScheduleError, TooManySchedulesError
from app.runs.schedules.reader import UnknownScheduleError
from app.runs.submit import TemplateRefusedError
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Fault, Refused

_UNAVAILABLE = ClusterError("example")

ALWAYS: tuple[Exception, ...] = (
    BadRequest("the path has a dot segment (. or ..), which proxies resolve and this service does not"),
    RuntimeError("example"),
)
"""A target that proxies may read in another way, and a defect of this service."""

BROWSER: tuple[Exception, ...] = (ForeignOriginError("example"), ForeignHostError("example"))
"""What pages of other sites get, except from the probes."""

CALLER: tuple[Exception, ...] = (InvalidTokenError("example"), UndecidedError("example"))

ACCESS: tuple[Exception, ...] = (
    UnknownDefinitionError("example"),
    NotTrustedError("example"),
    NotPermittedError("create jobs.slimfaas.dev/fibonacci"),
    DefinitionsUnreadError("example"),
    *CALLER,
)

LISTING: tuple[Exception, ...] = (UntrustedOnPublicError("example"),)

QUERY: tuple[Exception, ...] = (BadRequest("sort: unknown query parameter"),)

BODY: tuple[Exception, ...] = (
    NotJson("Expecting value at line 1, column 1"),
    RequestEntityTooLarge("the body is larger than 64 KiB"),
    EncodedBodyError(),
    Refused([Fault("/Image", "not an image that this definition allows")]),
)

API_SERVER: tuple[Exception, ...] = (_UNAVAILABLE, BusyError("example"))

_QUEUE: tuple[Exception, ...] = (
    QueueFullError(QueueFull("example", 1000, 4)),
    QueueFullError(QueueFull(None, 10000, 4)),
    QueueFullError(QueueFull(None, 262_144, 4, Limit.SIZE)),
    QueueFullError(QueueFull(None, 2 * 2**20, 4, Limit.DEPENDENCIES)),
    QueueUnknownError("example"),
)

CREATE: tuple[Exception, ...] = (
    InvalidError("example", causes=(("spec.template.spec.containers[0].image", "Required value"),)),
    TemplateRefusedError("example"),
    CreateFailedError(_UNAVAILABLE, in_doubt=False),
    CreateFailedError(_UNAVAILABLE, in_doubt=True),
    CreateFailedError(QuotaError("example"), in_doubt=False),
    CreateFailedError(DeniedError("example"), in_doubt=False),
    BusyError("example"),
    *_QUEUE,
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

SCHEDULE: tuple[Exception, ...] = (UnknownScheduleError("example"),)

CREATE_SCHEDULE: tuple[Exception, ...] = (
    InvalidScheduleError(InvalidError("example", causes=(("spec.schedule", "Invalid value"),))),
    TemplateRefusedError("example"),
    TooManySchedulesError(100),
    CreateFailedError(_UNAVAILABLE, in_doubt=False, noun="schedule"),
    CreateFailedError(_UNAVAILABLE, in_doubt=True, noun="schedule"),
    CreateFailedError(QuotaError("example"), in_doubt=False, noun="schedule"),
    CreateFailedError(DeniedError("example"), in_doubt=False, noun="schedule"),
    *_QUEUE,
    *API_SERVER,
)

CHANGE_SCHEDULE: tuple[Exception, ...] = (
    ConfiguredScheduleError(Definition("example", "example")),
    ConfiguredScheduleError(Definition("example", "example", source="CronJob")),
    ChangeFailedError(_UNAVAILABLE, in_doubt=False),
    ChangeFailedError(_UNAVAILABLE, in_doubt=True),
    *API_SERVER,
)

DELETE_SCHEDULE: tuple[Exception, ...] = (*CHANGE_SCHEDULE, DeletionUnfinishedError("example"))
