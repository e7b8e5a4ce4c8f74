"""Creating a run's Job, or a schedule's CronJob, exactly once, although answers of the API server get lost."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.kube import labels
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    QuotaError,
    ThrottledError,
)
from app.kube.idempotency import KeyMatch, match_key
from app.kube.parsing import read_ttl_seconds
from app.runs.retry_budget import RetryBudget, RetryPolicy

log = logging.getLogger(__name__)

_QUOTA_RETRY_SECONDS = 30


class CreateOutcome(Enum):
    """How an object came to be stored."""

    CREATED = "created"
    """This request has stored it."""
    REPLAYED = "replayed"
    """An earlier request with the same Idempotency-Key has stored it."""


class CreateFailedError(ClusterError):
    """The API server has not stored a run or a schedule, or it is unknown whether it has.

    `outcome_unknown` is about all attempts together.

    Attributes:
        cause: the error of the last attempt.
        noun: what was to be stored.
    """

    def __init__(self, cause: ClusterError, *, in_doubt: bool, noun: str = "run") -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.noun = noun
        self.outcome_unknown = in_doubt
        self.retry_after_seconds = cause.retry_after_seconds
        if isinstance(cause, QuotaError):
            self.kind = ErrorKind.TOO_MANY

    @property
    def reason(self) -> str:
        """The reason of the last attempt's error."""
        return self.cause.reason

    @property
    def detail(self) -> str:
        """Why it was not stored, as far as the caller may know, and whether it may exist all the same."""
        match self.cause:
            case QuotaError():
                why = "a quota of the namespace is used up"
            case DeniedError():
                why = f"an admission policy of the cluster refuses the {self.noun}"
            case ThrottledError():
                why = "the Kubernetes API server is too busy"
            case _:
                why = super().detail
        stored = "may or may not have been stored" if self.outcome_unknown else "has not been stored"
        return f"{why}; the {self.noun} {stored}"

    @property
    def retry_seconds(self) -> int:
        """When the caller may try again: later for a quota, since nobody knows when it has room again."""
        if isinstance(self.cause, QuotaError):
            return self.retry_after_seconds or _QUOTA_RETRY_SECONDS
        return super().retry_seconds


class KeyReusedError(ServiceError):
    """The Idempotency-Key was used by an earlier request with other content."""

    kind = ErrorKind.INVALID
    detail = "this Idempotency-Key belongs to an earlier request with other content; nothing has been done"


class KeyTakenError(ServiceError):
    """The name that follows from the Idempotency-Key is that of an unrelated object."""

    kind = ErrorKind.CONFLICT
    detail = "this Idempotency-Key can't be used, choose another one; nothing has been done"


@dataclass(frozen=True, slots=True)
class StoredKind:
    """How objects of one kind are stored, and found again.

    Attributes:
        noun: what callers call one.
        create: stores one.
        get: reads one by its name.
    """

    noun: str
    create: Callable[[Json], Json]
    get: Callable[[str], Json]


class Creator:
    """Creates Jobs or CronJobs.

    Args:
        kind: of the objects.
        retry_policy: for each create.
    """

    def __init__(self, kind: StoredKind, retry_policy: RetryPolicy) -> None:
        self._kind = kind
        self._retry_policy = retry_policy

    def create(self, manifest: Json, call: str, idempotent: IdempotentRequest | None) -> CreateOutcome:
        """Create an object, and retry until it is certain that it is stored once.

        The name is chosen before the first attempt. If a retry finds an object of this name with this request's mark,
        an earlier attempt has stored it. A run with a short TTL could have run and been removed between two attempts,
        and a retry would start it a second time: after a lost answer such a run is not tried again.

        Args:
            manifest: what to create.
            call: this request's mark, which is on this object and on no other.
            idempotent: the request's Idempotency-Key and content; `None`: it has no key.

        Raises:
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            InvalidError: the API server does not accept the object.
            CreateFailedError: the object is not stored, or it is unknown whether it is.
        """
        name = manifest["metadata"]["name"]
        budget, in_doubt = RetryBudget(self._retry_policy), False
        while True:
            try:
                self._kind.create(manifest)
                return CreateOutcome.CREATED
            except AlreadyExistsError as error:
                existing = self._find(name)
                if existing is not None:
                    return self._identify(existing, call, idempotent, error)
                if in_doubt:
                    if idempotent is None:
                        # No other request knows the name: an earlier attempt stored the object, and it is gone already.
                        return CreateOutcome.CREATED
                    raise self._failure(error, in_doubt=True) from error
                # It was another request's object, and it is gone: the name is free.
                retryable = True
                failure: ClusterError = error
            except ClusterError as error:
                # A refusal may be due to the object of an earlier attempt: it may have used up a quota.
                if in_doubt and not error.retryable and self._is_stored(name, call):
                    return CreateOutcome.CREATED
                in_doubt = in_doubt or error.outcome_unknown
                too_late = error.outcome_unknown and self._may_end_before_retry(manifest)
                retryable = _is_retryable(error) and not too_late
                failure = error
            if not retryable or not budget.wait(f"storing a {self._kind.noun}", failure):
                raise self._to_create_error(failure, in_doubt=in_doubt)

    def is_replay(self, name: str, idempotent: IdempotentRequest) -> bool:
        """Return whether a refused request repeats one that was accepted.

        Args:
            name: of the object that the request's key leads to.
            idempotent: the request.

        Raises:
            CreateFailedError: the call to the API server failed.
        """
        existing = self._find(name)
        return existing is not None and match_key(idempotent, existing) is KeyMatch.SAME_REQUEST

    def _find(self, name: str) -> Json | None:
        """Return the object of this name; `None`: there is none.

        Raises:
            CreateFailedError: the call to the API server failed. It is unknown whether the object is stored.
        """
        try:
            return self._kind.get(name)
        except NotFoundError:
            return None
        except ClusterError as error:
            raise self._failure(error, in_doubt=True) from error

    def _is_stored(self, name: str, call: str) -> bool:
        """Return whether an earlier attempt of this request, whose answer was lost, has stored the object."""
        existing = self._find(name)
        return existing is not None and _has_mark(existing, call)

    def _may_end_before_retry(self, manifest: Json) -> bool:
        """Return whether a Job could end and be removed by its TTL before the last possible attempt is stored."""
        ttl_seconds = read_ttl_seconds(manifest)
        return ttl_seconds is not None and ttl_seconds <= self._retry_policy.deadline_seconds + CALL_SECONDS

    def _identify(
        self, existing: Json, call: str, idempotent: IdempotentRequest | None, error: AlreadyExistsError
    ) -> CreateOutcome:
        """Decide whose object has the name already: this request's, or that of an earlier request with the same key.

        Raises:
            KeyReusedError: the key was used for another request.
            KeyTakenError: an unrelated object has the name that follows from the key.
            CreateFailedError: an unrelated object has the name, and the request has no key.
        """
        if _has_mark(existing, call):
            return CreateOutcome.CREATED
        if idempotent is None:
            raise self._failure(error, in_doubt=False) from error
        match match_key(idempotent, existing):
            case KeyMatch.SAME_REQUEST:
                return CreateOutcome.REPLAYED
            case KeyMatch.OTHER_REQUEST:
                raise KeyReusedError(idempotent.run_id) from error
            case KeyMatch.OTHER_KEY:
                raise KeyTakenError(idempotent.run_id) from error

    def _to_create_error(self, error: ClusterError, *, in_doubt: bool) -> ClusterError:
        """Return the error to raise after the last attempt; `in_doubt`: an earlier one may have stored the object."""
        if isinstance(error, InvalidError) and not in_doubt:
            log.warning("the API server does not accept a %s: %s", self._kind.noun, error)
            return error
        result = self._failure(error, in_doubt=in_doubt)
        result.__cause__ = error
        return result

    def _failure(self, error: ClusterError, *, in_doubt: bool) -> CreateFailedError:
        return CreateFailedError(error, in_doubt=in_doubt, noun=self._kind.noun)


def _is_retryable(error: ClusterError) -> bool:
    """Return whether the same create may succeed a moment later.

    A conflict is retryable here. A create conflicts with no other write to its object: the conflict is that of a
    ResourceQuota that many creates count against at once. The API server has stored nothing then.
    """
    return error.retryable or isinstance(error, ConflictError)


def _has_mark(item: Json, call: str) -> bool:
    found: bool = (item["metadata"].get("annotations") or {}).get(labels.CALL_ANNOTATION) == call
    return found
