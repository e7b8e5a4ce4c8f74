"""Storing a Job once, however often it takes to be sure."""

import logging

from app.cluster import keys
from app.cluster.client import CALL_SECONDS, Json
from app.cluster.errors import AlreadyExistsError, ClusterError, ConflictError, InvalidError, NotFoundError
from app.cluster.idempotency import Claim, Match
from app.cluster.namespace import Namespace
from app.services.tries import LAST_TRY_SECONDS, BeginTries

log = logging.getLogger(__name__)

_HORIZON_SECONDS = LAST_TRY_SECONDS + CALL_SECONDS
"""How long after the first try the last one can still be stored."""


class NotStoredError(ClusterError):
    """The API server did not store a run, or nobody can say; `may_have_happened` speaks of all tries together.

    Attributes:
        cause: what the last try met.
    """

    def __init__(self, cause: ClusterError, *, in_doubt: bool) -> None:
        super().__init__(cause.message)
        self.cause = cause
        self.may_have_happened = in_doubt
        self.retry_after_seconds = cause.retry_after_seconds


class KeyReusedError(Exception):
    """The Idempotency-Key belongs to an earlier call that asked for something else."""


class KeyTakenError(Exception):
    """The name that the Idempotency-Key leads to belongs to a Job that has nothing to do with it."""


class Storer:
    """Stores Jobs.

    Args:
        namespace: where.
        begin_tries: for each of them.
    """

    def __init__(self, namespace: Namespace, begin_tries: BeginTries) -> None:
        self._namespace = namespace
        self._begin_tries = begin_tries

    def store(self, job: Json, call: str, claim: Claim | None) -> bool:
        """Store a Job once, however often it takes to be sure; whether an earlier call had stored it.

        The name was chosen before the first try, so a try that finds it taken by a Job with our own mark has been
        stored by an earlier one. After a lost answer a run that lives but a moment could have come and gone before the
        next try, which would start it a second time: such a run isn't tried again.

        Args:
            job: to be stored.
            call: the mark of the call, which is on the Job and on no other.
            claim: what its Idempotency-Key lays claim to; `None`: it has none.

        Raises:
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            InvalidError: the API server does not accept the Job.
            NotStoredError: it isn't stored, or nobody can say.
        """
        tries, in_doubt = self._begin_tries(), False
        lives_seconds = job["spec"].get("ttlSecondsAfterFinished")
        while True:
            try:
                self._namespace.create_job(job)
                return False
            except AlreadyExistsError as error:
                existing = self._find(job["metadata"]["name"], in_doubt=True)
                if existing is not None:
                    return self._identify(existing, call, claim, error)
                if in_doubt:
                    if claim is None:
                        return False  # nobody else knows the name: it was ours, and is gone already
                    raise NotStoredError(error, in_doubt=True) from error
                # It was another's, and is gone: the name is free.
                again = True
                failure: ClusterError = error
            except ClusterError as error:
                if in_doubt and not error.may_pass and self._has_stored(job["metadata"]["name"], call):
                    return False  # what refuses a second such run may be the first: it has used up a quota
                in_doubt = in_doubt or error.may_have_happened
                short_lived = lives_seconds is not None and lives_seconds <= _HORIZON_SECONDS
                again = _may_pass(error) and not (error.may_have_happened and short_lived)
                failure = error
            if not again or not tries.wait("storing a run", failure):
                raise _not_stored(failure, in_doubt=in_doubt)

    def _find(self, name: str, *, in_doubt: bool) -> Json | None:
        """The Job of this name; `None`: there is none."""
        try:
            return self._namespace.get_job(name)
        except NotFoundError:
            return None
        except ClusterError as error:
            raise NotStoredError(error, in_doubt=in_doubt) from error

    def _has_stored(self, name: str, call: str) -> bool:
        """Whether an earlier try of this call, which had no answer, has been stored."""
        existing = self._find(name, in_doubt=True)
        return existing is not None and _is_marked(existing, call)

    def _identify(self, existing: Json, call: str, claim: Claim | None, error: AlreadyExistsError) -> bool:
        """Say of the Job that has the name already whether it is an earlier call's, or else this one's."""
        if _is_marked(existing, call):
            return False
        if claim is None:
            raise NotStoredError(error, in_doubt=False) from error
        match claim.match(existing):
            case Match.SAME_REQUEST:
                return True
            case Match.OTHER_REQUEST:
                raise KeyReusedError(claim.run_id) from error
            case Match.OTHER_KEY:
                raise KeyTakenError(claim.run_id) from error

    def is_replay(self, name: str, claim: Claim) -> bool:
        """Whether a call that is refused repeats one that was accepted.

        Args:
            name: of the Job that the claim leads to.
            claim: the call's.

        Raises:
            NotStoredError: nobody can say.
        """
        existing = self._find(name, in_doubt=True)
        return existing is not None and claim.match(existing) is Match.SAME_REQUEST


def _may_pass(error: ClusterError) -> bool:
    """Whether the same create may do well a moment later.

    Nothing that is created has changed meanwhile: a conflict is that of a ResourceQuota, on which the API server gives
    up where many calls count against it at once. It has stored nothing then.
    """
    return error.may_pass or isinstance(error, ConflictError)


def _is_marked(job: Json, call: str) -> bool:
    found: bool = (job["metadata"].get("annotations") or {}).get(keys.CALL_ANNOTATION) == call
    return found


def _not_stored(error: ClusterError, *, in_doubt: bool) -> ClusterError:
    """What to raise where the last try met this error, in doubt whether an earlier one was stored."""
    if isinstance(error, InvalidError) and not in_doubt:
        log.warning("the API server does not accept a run: %s", error)
        return error
    result = NotStoredError(error, in_doubt=in_doubt)
    result.__cause__ = error
    return result
