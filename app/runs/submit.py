"""Starting a run: one suspended Job, which is stored before the caller is answered."""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from app.common.errors import ErrorKind, ServiceError
from app.common.random_bytes import random_hex
from app.common.types import Json
from app.domain.idempotency import IdempotentRequest, identify_request
from app.domain.names import job_name, new_id
from app.domain.request_context import RequestContext
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ForbiddenError, InvalidError
from app.kube.manifests import build_job
from app.runs.create import CreateFailedError, CreateOutcome, Creator, StoredKind
from app.runs.dry_run import redact
from app.runs.limits.queue_limiter import QueueFullError, QueueLimiter, QueueUnknownError
from app.runs.retry_budget import DEFAULT_RETRY_POLICY, RetryPolicy
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Refused
from schemas.merge import merge
from schemas.request import overridden_fields, read_request
from schemas.run import Status

_LARGE_BYTES = 8 * 1024
"""A body that is longer than this is read while no other long one is."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is stored.

    Attributes:
        id: the run's id within its definition.
        name: of the Kubernetes Job.
        status: `Queued`, because the run is not read again.
        fields: the names of the fields that the request overrides, for the log.
        replayed: whether an earlier request with the same Idempotency-Key has stored the run.
    """

    id: str
    name: str
    status: Status = Status.QUEUED
    fields: tuple[str, ...] = ()
    replayed: bool = False


class TemplateRefusedError(ServiceError):
    """The API server does not accept what the definition's template says. The request is not at fault."""

    kind = ErrorKind.CONFLICT
    detail = (
        "Kubernetes does not accept the template of this definition, so no run of it can start until the platform team "
        "has changed it; the service's log names the fields. The run has not been stored"
    )


class Submitter:
    """Starts runs.

    Args:
        client: of the namespace that the runs are in.
        queues: limits how many runs may be queued.
        retry_policy: for each create.
        key_secret: mixed into Idempotency-Keys; empty: the uid of our ServiceAccount is, if we have one. No request
            shows it to a caller, and all replicas have the same.
    """

    def __init__(
        self,
        client: NamespacedClient,
        queues: QueueLimiter,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        key_secret: str = "",
    ) -> None:
        self._key_secret = key_secret
        self._client = client
        self._queues = queues
        self._large_body = threading.Lock()
        self._creator = Creator(StoredKind("run", client.create_job, client.get_job), retry_policy)

    def submit(
        self,
        definition: Definition,
        body: bytes,
        *,
        path: str = "",
        query: str = "",
        key: str | None = None,
        context: RequestContext | None = None,
    ) -> Accepted:
        """Start a run, or find the one that the key has started. When this returns, the API server has stored it.

        A request that is refused now may have been accepted when its key was first used: the configuration may have
        changed since, or the run itself may have used up a quota. So a refusal of a request with a key is followed by
        one read of the run. A request that is accepted costs no read.

        Args:
            definition: the run's.
            body: the request's body: JSON, or nothing.
            path: the part of the request's path after the definition's name, decoded.
            query: the request's raw query string.
            key: the request's Idempotency-Key; `None`: it has none, and starts a run of its own.
            context: where the request comes from. A run that a key finds keeps the context of the first request.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for something that isn't allowed.
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            QueueFullError: as many runs are queued as may be.
            QueueUnknownError: the number of queued runs is not known yet.
            InvalidError: the API server does not accept the run.
            TemplateRefusedError: it does not accept the definition's template.
            CreateFailedError: the run is not stored, or it is unknown whether it is.
        """
        user = "" if context is None else context.started_by
        idempotent = None
        if key is not None:
            secret = (self._key_secret or self._client.transport.account_uid()).encode()
            idempotent = identify_request(definition.name, key, body, path, query, user, secret)
        run_id = idempotent.run_id if idempotent else new_id()
        name, call = job_name(definition.name, run_id), random_hex(16)
        fields: tuple[str, ...] = ()
        try:
            with self._hold_if_large(body):
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
                idempotent=idempotent,
                context=context,
            )
            outcome = self._create_in_queue(definition, job, call, idempotent)
        except (NotJson, Refused, QueueFullError, QueueUnknownError, InvalidError, CreateFailedError) as error:
            definite = not isinstance(error, CreateFailedError) or isinstance(error.cause, ForbiddenError)
            if idempotent is None or not definite or not self._creator.is_replay(name, idempotent):
                raise _for_caller(error, definition) from error
            outcome = CreateOutcome.REPLAYED
        return Accepted(run_id, name, fields=fields, replayed=outcome is CreateOutcome.REPLAYED)

    def dry_run(
        self,
        definition: Definition,
        body: bytes,
        *,
        path: str = "",
        query: str = "",
        context: RequestContext | None = None,
    ) -> Json:
        """Do everything that starting a run takes, but store nothing.

        Args:
            definition: the run's.
            body: the request's body.
            path: see `submit`.
            query: see `submit`.
            context: see `submit`.

        Returns:
            The Job as the API server would store it, without what the caller may not know.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for something that isn't allowed.
            QueueFullError: as many runs are queued as may be.
            QueueUnknownError: the number of queued runs is not known yet.
            InvalidError: the API server would not accept the run.
            TemplateRefusedError: it would not accept the definition's template.
            ClusterError: the API server refused to store the run, or the call failed.
        """
        with self._hold_if_large(body):
            request, faults = read_request(body)
            spec = merge(definition, request, faults)
        call = random_hex(16)
        job = build_job(spec, new_id(), queued_at=datetime.now(UTC), call=call, path=path, query=query, context=context)
        self._queues.check(definition, job)
        try:
            stored = self._client.create_job(job, dry_run=True)
        except ForbiddenError as error:
            raise CreateFailedError(error, in_doubt=False) from error
        except InvalidError as error:
            raise _for_caller(error, definition) from error
        return redact(stored, spec, request, context)

    def _hold_if_large(self, body: bytes) -> AbstractContextManager[object]:
        """Let one thread at a time read a large body.

        Several threads would not be done sooner, and the largest body takes 1.4 MiB of memory while it is read.
        """
        return self._large_body if len(body) > _LARGE_BYTES else nullcontext()

    def _create_in_queue(
        self, definition: Definition, job: Json, call: str, idempotent: IdempotentRequest | None
    ) -> CreateOutcome:
        """Create a Job if the queue has a place for it."""
        reservation = self._queues.reserve(definition, job)
        try:
            outcome = self._creator.create(job, call, idempotent)
        except Exception as error:
            # A run that may be stored keeps its place.
            if not (isinstance(error, ClusterError) and error.outcome_unknown):
                reservation.release()
            raise
        if outcome is CreateOutcome.REPLAYED:
            reservation.release()
        return outcome


def _for_caller(error: Exception, definition: Definition) -> Exception:
    """Return what a caller is told of a failed create.

    The API server's causes quote the fields of a template, which callers must not know. A refusal without causes is
    that of an admission policy, in words that its author has written for people.
    """
    is_template = definition.template is not None and isinstance(error, InvalidError) and bool(error.causes)
    return TemplateRefusedError(definition.name) if is_template else error
