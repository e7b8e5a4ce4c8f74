"""Starting a run: one suspended Job, stored before anybody is told so."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from app.common.random_bytes import random_hex
from app.common.types import Json
from app.domain.idempotency import IdempotentRequest, identify_request
from app.domain.names import job_name, new_id
from app.domain.request_context import RequestContext
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ForbiddenError, InvalidError
from app.kube.manifests import build_job
from app.runs.create import CreateFailedError, JobCreator
from app.runs.dry_run import redact
from app.runs.limits.queue_limiter import QueueFullError, QueueLimiter, QueueUnknownError
from app.runs.retry_budget import RetryBudget
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Refused
from schemas.merge import merge
from schemas.request import overridden_fields, read_request

_LARGE_BYTES = 8 * 1024
"""From here on a body may cost much."""


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


class Submitter:
    """Starts runs.

    Args:
        client: where.
        queues: how many runs may wait.
        sleep: waits for so many seconds between two tries.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        queues: QueueLimiter,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._queues = queues
        self._large = threading.Lock()
        self._creator = JobCreator(client, partial(RetryBudget, sleep, clock))

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
            context: where the call comes from. The run that a key finds keeps that of the first call.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for what isn't allowed.
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            QueueFullError: as many runs wait as may.
            QueueUnknownError: it isn't known yet how many wait.
            InvalidError: the API server does not accept the run.
            CreateFailedError: the run isn't stored, or nobody can say.
        """
        idempotent = None if key is None else identify_request(definition.name, key, body, path, query)
        run_id = idempotent.run_id if idempotent else new_id()
        name, call = job_name(definition.name, run_id), random_hex(16)
        fields: tuple[str, ...] = ()
        try:
            with self._turn(body):
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
            replayed = self._store_in_queue(definition, job, call, idempotent)
        except (NotJson, Refused, QueueFullError, QueueUnknownError, InvalidError, CreateFailedError) as error:
            definite = not isinstance(error, CreateFailedError) or isinstance(error.cause, ForbiddenError)
            if idempotent is None or not definite or not self._creator.is_replay(name, idempotent):
                raise
            replayed = True
        return Accepted(run_id, name, fields, replayed)

    def dry_run(
        self,
        definition: Definition,
        body: bytes,
        *,
        path: str = "",
        query: str = "",
        context: RequestContext | None = None,
    ) -> Json:
        """Do all that starting a run takes, but have nothing stored.

        Args:
            definition: of the run.
            body: of the call.
            path: see `submit`.
            query: see `submit`.
            context: see `submit`.

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
        with self._turn(body):
            request, faults = read_request(body)
            spec = merge(definition, request, faults)
        self._queues.check(definition)
        call = random_hex(16)
        job = build_job(spec, new_id(), queued_at=datetime.now(UTC), call=call, path=path, query=query, context=context)
        try:
            answer = self._client.create_job(job, dry_run=True)
        except ForbiddenError as error:
            raise CreateFailedError(error, in_doubt=False) from error
        return redact(answer, spec, request, context)

    def _turn(self, body: bytes) -> AbstractContextManager[object]:
        """The right to read a body: a large one is read while no other large one is.

        Several threads would not be done sooner, and the largest takes 1.4 MiB while it is read.
        """
        return self._large if len(body) > _LARGE_BYTES else nullcontext()

    def _store_in_queue(
        self, definition: Definition, job: Json, call: str, idempotent: IdempotentRequest | None
    ) -> bool:
        """Store a Job where the queue has a place for it; whether an earlier call had stored it."""
        give_back = self._queues.reserve(definition, job["metadata"]["name"])
        try:
            replayed = self._creator.store(job, call, idempotent)
        except Exception as error:
            if not (isinstance(error, ClusterError) and error.outcome_unknown):
                give_back()
            raise
        if replayed:
            give_back()
        return replayed
