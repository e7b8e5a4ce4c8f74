"""Storing a Job once, however often it takes to be sure."""

import logging

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.idempotency import IdempotentRequest
from app.kube import labels
from app.kube.client import NamespacedClient
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
from app.kube.idempotency import KeyMatch, match_job
from app.kube.transport import CALL_SECONDS
from app.runs.retry_budget import LAST_TRY_SECONDS, StartBudget

log = logging.getLogger(__name__)

_HORIZON_SECONDS = LAST_TRY_SECONDS + CALL_SECONDS
"""How long after the first try the last one can still be stored."""


_QUOTA_RETRY_SECONDS = 30


class CreateFailedError(ClusterError):
    """The API server did not store a run, or nobody can say; `outcome_unknown` speaks of all tries together.

    Attributes:
        cause: what the last try met.
    """

    def __init__(self, cause: ClusterError, *, in_doubt: bool) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.outcome_unknown = in_doubt
        self.retry_after_seconds = cause.retry_after_seconds
        if isinstance(cause, QuotaError):
            self.kind = ErrorKind.TOO_MANY

    @property
    def reason(self) -> str:
        """That of the last attempt."""
        return self.cause.reason

    @property
    def detail(self) -> str:
        """Why, as far as that is the caller's business, and what is known of the run."""
        match self.cause:
            case QuotaError():
                why = "a quota of the namespace is used up"
            case DeniedError():
                why = "an admission policy of the cluster refuses the run"
            case ThrottledError():
                why = "the Kubernetes API server is too busy"
            case _:
                why = super().detail
        stored = "may or may not have been stored" if self.outcome_unknown else "has not been stored"
        return f"{why}; the run {stored}"

    @property
    def retry_seconds(self) -> int:
        """Longer where a quota is used up: nobody can tell when that ends, and asking costs a call."""
        if isinstance(self.cause, QuotaError):
            return self.retry_after_seconds or _QUOTA_RETRY_SECONDS
        return super().retry_seconds


class KeyReusedError(ServiceError):
    """The Idempotency-Key belongs to an earlier call that asked for something else."""

    kind = ErrorKind.INVALID
    detail = "this Idempotency-Key belongs to an earlier call that asked for something else; nothing has been done"


class KeyTakenError(ServiceError):
    """The name that the Idempotency-Key leads to belongs to a Job that has nothing to do with it."""

    kind = ErrorKind.CONFLICT
    detail = "this Idempotency-Key can't be used, another one can; nothing has been done"


class JobCreator:
    """Stores Jobs.

    Args:
        client: where.
        start_budget: for each of them.
    """

    def __init__(self, client: NamespacedClient, start_budget: StartBudget) -> None:
        self._client = client
        self._start_budget = start_budget

    def store(self, job: Json, call: str, idempotent: IdempotentRequest | None) -> bool:
        """Store a Job once, however often it takes to be sure; whether an earlier call had stored it.

        The name was chosen before the first try, so a try that finds it taken by a Job with our own mark has been
        stored by an earlier one. After a lost answer a run that lives but a moment could have come and gone before the
        next try, which would start it a second time: such a run isn't tried again.

        Args:
            job: to be stored.
            call: the mark of the call, which is on the Job and on no other.
            idempotent: what its Idempotency-Key lays claim to; `None`: it has none.

        Raises:
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            InvalidError: the API server does not accept the Job.
            CreateFailedError: it isn't stored, or nobody can say.
        """
        budget, in_doubt = self._start_budget(), False
        lives_seconds = job["spec"].get("ttlSecondsAfterFinished")
        while True:
            try:
                self._client.create_job(job)
                return False
            except AlreadyExistsError as error:
                existing = self._find(job["metadata"]["name"], in_doubt=True)
                if existing is not None:
                    return self._identify(existing, call, idempotent, error)
                if in_doubt:
                    if idempotent is None:
                        return False  # nobody else knows the name: it was ours, and is gone already
                    raise CreateFailedError(error, in_doubt=True) from error
                # It was another's, and is gone: the name is free.
                again = True
                failure: ClusterError = error
            except ClusterError as error:
                if in_doubt and not error.retryable and self._has_stored(job["metadata"]["name"], call):
                    return False  # what refuses a second such run may be the first: it has used up a quota
                in_doubt = in_doubt or error.outcome_unknown
                short_lived = lives_seconds is not None and lives_seconds <= _HORIZON_SECONDS
                again = _retryable(error) and not (error.outcome_unknown and short_lived)
                failure = error
            if not again or not budget.wait("storing a run", failure):
                raise _create_failed(failure, in_doubt=in_doubt)

    def _find(self, name: str, *, in_doubt: bool) -> Json | None:
        """The Job of this name; `None`: there is none."""
        try:
            return self._client.get_job(name)
        except NotFoundError:
            return None
        except ClusterError as error:
            raise CreateFailedError(error, in_doubt=in_doubt) from error

    def _has_stored(self, name: str, call: str) -> bool:
        """Whether an earlier try of this call, which had no answer, has been stored."""
        existing = self._find(name, in_doubt=True)
        return existing is not None and _is_marked(existing, call)

    def _identify(
        self, existing: Json, call: str, idempotent: IdempotentRequest | None, error: AlreadyExistsError
    ) -> bool:
        """Say of the Job that has the name already whether it is an earlier call's, or else this one's."""
        if _is_marked(existing, call):
            return False
        if idempotent is None:
            raise CreateFailedError(error, in_doubt=False) from error
        match match_job(idempotent, existing):
            case KeyMatch.SAME_REQUEST:
                return True
            case KeyMatch.OTHER_REQUEST:
                raise KeyReusedError(idempotent.run_id) from error
            case KeyMatch.OTHER_KEY:
                raise KeyTakenError(idempotent.run_id) from error

    def is_replay(self, name: str, idempotent: IdempotentRequest) -> bool:
        """Whether a call that is refused repeats one that was accepted.

        Args:
            name: of the Job that the claim leads to.
            idempotent: the call's.

        Raises:
            CreateFailedError: nobody can say.
        """
        existing = self._find(name, in_doubt=True)
        return existing is not None and match_job(idempotent, existing) is KeyMatch.SAME_REQUEST


def _retryable(error: ClusterError) -> bool:
    """Whether the same create may do well a moment later.

    Nothing that is created has changed meanwhile: a conflict is that of a ResourceQuota, on which the API server gives
    up where many calls count against it at once. It has stored nothing then.
    """
    return error.retryable or isinstance(error, ConflictError)


def _is_marked(job: Json, call: str) -> bool:
    found: bool = (job["metadata"].get("annotations") or {}).get(labels.CALL_ANNOTATION) == call
    return found


def _create_failed(error: ClusterError, *, in_doubt: bool) -> ClusterError:
    """What to raise where the last try met this error, in doubt whether an earlier one was stored."""
    if isinstance(error, InvalidError) and not in_doubt:
        log.warning("the API server does not accept a run: %s", error)
        return error
    result = CreateFailedError(error, in_doubt=in_doubt)
    result.__cause__ = error
    return result
