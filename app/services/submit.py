"""Starting a run: one suspended Job, stored before anybody is told so."""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.cluster import keys
from app.cluster.client import CALL_SECONDS, Json
from app.cluster.errors import AlreadyExistsError, ClusterError, ForbiddenError, InvalidError, NotFoundError
from app.cluster.idempotency import Claim, Match, claim_by
from app.cluster.manifests import build_job
from app.cluster.names import job_name, new_id
from app.cluster.namespace import Namespace
from app.cluster.origin import Origin
from app.services.queues import QueueFullError, Queues, QueueUnknownError
from app.services.tryout import redact
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Refused
from schemas.merge import merge
from schemas.request import overridden_fields, read_request

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Between the tries to store a run."""

_LAST_TRY_SECONDS = 4.0
"""After so long no further try begins: the caller had better hear that something is wrong."""

_HORIZON_SECONDS = _LAST_TRY_SECONDS + CALL_SECONDS
"""How long after the first try the last one can still be stored."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is stored.

    Attributes:
        id: its id within its definition.
        name: of the Kubernetes Job.
        fields: the names of those that the request has overridden, for the log.
        replayed: it was stored by an earlier call with the same Idempotency-Key.
    """

    id: str
    name: str
    fields: tuple[str, ...] = ()
    replayed: bool = False


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


class Submitter:
    """Starts runs.

    Args:
        namespace: where.
        queues: how many runs may wait.
        sleep: waits for so many seconds between two tries.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        namespace: Namespace,
        queues: Queues,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = namespace
        self._queues = queues
        self._sleep = sleep
        self._clock = clock

    def submit(
        self,
        definition: Definition,
        body: bytes,
        *,
        path: str = "",
        query: str = "",
        key: str | None = None,
        origin: Origin | None = None,
    ) -> Accepted:
        """Start a run, or find the one that the key has started; when this returns, the API server has stored it.

        What is refused now may have been accepted when the key was first used: the configuration may have changed
        since, or the run itself may have used up a quota. So a refusal with a key is looked into before it is passed
        on; a call that is accepted costs no read.

        Args:
            definition: of the run.
            body: of the call, a request as JSON or nothing.
            path: what the call's path has after the definition's name, decoded.
            query: the call's raw query string.
            key: the call's Idempotency-Key; `None`: it has none, and starts a run of its own.
            origin: where the call comes from. The run that a key finds keeps that of the first call.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for what isn't allowed.
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            QueueFullError: as many runs wait as may.
            QueueUnknownError: it isn't known yet how many wait.
            InvalidError: the API server does not accept the run.
            NotStoredError: the run isn't stored, or nobody can say.
        """
        claim = None if key is None else claim_by(definition.name, key, body, path, query)
        run_id = claim.run_id if claim else new_id()
        name, call = job_name(definition.name, run_id), secrets.token_hex(16)
        fields: tuple[str, ...] = ()
        try:
            request, faults = read_request(body)
            fields = overridden_fields(request)
            spec = merge(definition, request, faults)
            job = build_job(
                spec,
                run_id,
                queued_at=datetime.now(UTC),
                call=call,
                path=path,
                query=query,
                claim=claim,
                origin=origin,
            )
            replayed = self._store_in_queue(definition, job, call, claim)
        except (NotJson, Refused, QueueFullError, QueueUnknownError, InvalidError, NotStoredError) as error:
            definite = not isinstance(error, NotStoredError) or isinstance(error.cause, ForbiddenError)
            if claim is None or not definite or not self._is_replay(name, claim):
                raise
            replayed = True
        return Accepted(run_id, name, fields, replayed)

    def try_out(
        self, definition: Definition, body: bytes, *, path: str = "", query: str = "", origin: Origin | None = None
    ) -> Json:
        """Do all that starting a run takes, but have nothing stored.

        Args:
            definition: of the run.
            body: of the call.
            path: see `submit`.
            query: see `submit`.
            origin: see `submit`.

        Returns:
            The Job as the API server would store it, without what the caller has no business to know.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for what isn't allowed.
            QueueFullError: as many runs wait as may.
            QueueUnknownError: it isn't known yet how many wait.
            InvalidError: the API server would not accept the run.
            ClusterError: it would not store it, or can't be asked.
        """
        request, faults = read_request(body)
        spec = merge(definition, request, faults)
        self._queues.check(definition)
        call = secrets.token_hex(16)
        job = build_job(spec, new_id(), queued_at=datetime.now(UTC), call=call, path=path, query=query, origin=origin)
        try:
            answer = self._namespace.create_job(job, dry_run=True)
        except ForbiddenError as error:
            raise NotStoredError(error, in_doubt=False) from error
        return redact(answer, spec, request, origin)

    def _store_in_queue(self, definition: Definition, job: Json, call: str, claim: Claim | None) -> bool:
        """Store a Job where the queue has a place for it; whether an earlier call had stored it."""
        give_back = self._queues.take_place(definition, job["metadata"]["name"])
        try:
            replayed = self._store(job, call, claim)
        except Exception as error:
            if not (isinstance(error, ClusterError) and error.may_have_happened):
                give_back()
            raise
        if replayed:
            give_back()
        return replayed

    def _store(self, job: Json, call: str, claim: Claim | None) -> bool:
        """Store a Job once, however often it takes to be sure; whether an earlier call had stored it.

        The name was chosen before the first try, so a try that finds it taken by a Job with our own mark has been
        stored by an earlier one. After a lost answer a run that lives but a moment could have come and gone before the
        next try, which would start it a second time: such a run isn't tried again.
        """
        began, in_doubt = self._clock(), False
        lives_seconds = job["spec"].get("ttlSecondsAfterFinished")
        failure: ClusterError
        for pause_seconds in (*_PAUSES_SECONDS, None):
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
                again, failure = True, error
            except ClusterError as error:
                if in_doubt and not error.may_pass and self._has_stored(job["metadata"]["name"], call):
                    return False  # what refuses a second such run may be the first: it has used up a quota
                in_doubt = in_doubt or error.may_have_happened
                short_lived = lives_seconds is not None and lives_seconds <= _HORIZON_SECONDS
                again, failure = error.may_pass and not (error.may_have_happened and short_lived), error
            if not again or pause_seconds is None:
                break
            asked_seconds = max(pause_seconds, failure.retry_after_seconds or 0)
            if self._clock() - began + asked_seconds > _LAST_TRY_SECONDS:
                break
            log.warning("storing a run once more: %s", failure)
            self._sleep(asked_seconds)
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

    def _is_replay(self, name: str, claim: Claim) -> bool:
        """Whether a call that is refused repeats one that was accepted."""
        existing = self._find(name, in_doubt=True)
        return existing is not None and claim.match(existing) is Match.SAME_REQUEST


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
