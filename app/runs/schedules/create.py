"""Making a schedule by a request: one CronJob, which is stored before the caller is answered."""

from app.common.errors import ErrorKind, ServiceError
from app.common.random_bytes import random_hex
from app.common.types import Json
from app.domain.idempotency import identify_request
from app.domain.names import cronjob_name, new_id
from app.domain.request_context import RequestContext
from app.kube.client import NamespacedClient
from app.kube.errors import ForbiddenError, InvalidError
from app.kube.schedules import build_next_run, build_requested_cronjob
from app.runs.create import CreateFailedError, CreateOutcome, Creator, StoredKind
from app.runs.dry_run import redact
from app.runs.limits.queue_limiter import QueueFullError, QueueLimiter, QueueUnknownError
from app.runs.retry_budget import DEFAULT_RETRY_POLICY, RetryPolicy
from app.runs.schedules.counter import ScheduleCounter
from app.runs.submit import TemplateRefusedError
from schemas.definition import Definition
from schemas.documents import NotJson
from schemas.faults import Fault, Refused
from schemas.merge import RunSpec
from schemas.request import overridden_fields
from schemas.schedule_view import CreatedSchedule
from schemas.schedules import Schedule, read_requested_schedule


class TooManySchedulesError(ServiceError):
    """The definition has as many schedules that were made by requests as it may have.

    Args:
        limit: how many it may have.
    """

    kind = ErrorKind.CONFLICT

    def __init__(self, limit: int) -> None:
        super().__init__(str(limit))
        self._limit = limit

    @property
    def detail(self) -> str:
        """Which limit is reached."""
        return (
            f"this definition may have at most {self._limit} schedules that requests have made "
            "(SLIMFAAS_MAX_SCHEDULES); delete one first. Nothing has been done"
        )


class InvalidScheduleError(ServiceError):
    """The API server does not accept the schedule.

    Args:
        cause: its answer.
    """

    kind = ErrorKind.INVALID

    def __init__(self, cause: InvalidError) -> None:
        super().__init__(cause.message)
        self._cause = cause

    @property
    def detail(self) -> str:
        """Where there are no causes, an admission policy gives its reason in the message alone."""
        return "Kubernetes does not accept this schedule" + ("" if self._cause.causes else f": {self._cause.message}")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The causes, each field path as a JSON pointer into the CronJob."""
        return self._cause.faults


class ScheduleCreator:
    """Makes schedules.

    A schedule takes no place in the queue before its runs are made, and those are not refused. But no schedule is made
    while the queue has no place for a run of it. So whoever makes schedules and deletes them again can't go beyond the
    queue's limits by more than the runs of the schedules that one definition may have.

    Args:
        client: of the namespace that runs are in.
        queues: the limits of the queues.
        counter: counts the schedules that there are.
        max_schedules: how many schedules of one definition requests may make. Requests that arrive at several processes
            at the same moment may exceed it.
        retry_policy: for each create.
        key_secret: see `app.runs.submit.Submitter`.
    """

    def __init__(
        self,
        client: NamespacedClient,
        queues: QueueLimiter,
        counter: ScheduleCounter,
        max_schedules: int,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        key_secret: str = "",
    ) -> None:
        self._client = client
        self._queues = queues
        self._counter = counter
        self._max_schedules = max_schedules
        self._key_secret = key_secret
        self._creator = Creator(StoredKind("schedule", client.create_cronjob, client.get_cronjob), retry_policy)

    def create(
        self, definition: Definition, body: bytes, *, key: str | None = None, context: RequestContext
    ) -> CreatedSchedule:
        """Make a schedule, or find the one that the key has made. When this returns, the API server has stored it.

        Call it for one request at a time: the schedules are counted before one is added.

        Args:
            definition: the schedule's.
            body: the request's body.
            key: the request's Idempotency-Key; `None`: it has none, and makes a schedule of its own.
            context: where the request comes from.

        Raises:
            schemas.documents.NotJson: the body isn't JSON.
            Refused: the request asks for something that isn't allowed.
            KeyReusedError: the key was used for another request.
            KeyTakenError: the key can't be used.
            TooManySchedulesError: the definition has as many schedules as it may have.
            QueueFullError: as many runs are queued as may be.
            QueueUnknownError: the number of queued runs is not known yet.
            InvalidScheduleError: the API server does not accept the schedule.
            TemplateRefusedError: it does not accept the definition's template.
            CreateFailedError: the schedule is not stored, or it is unknown whether it is.
            ClusterError: the schedules can't be counted; nothing is stored.
        """
        idempotent = None
        if key is not None:
            secret = (self._key_secret or self._client.transport.account_uid()).encode()
            idempotent = identify_request(
                definition.name, key, body, "", "", context.started_by, secret, kind="schedules"
            )
        schedule_id, call = idempotent.run_id if idempotent else new_id(), random_hex(16)
        name = cronjob_name(definition.name, schedule_id)
        fields: tuple[str, ...] = ()
        try:
            schedule, spec = read_requested_schedule(definition, body)
            fields = overridden_fields(schedule.request)
            self._check_number(definition)
            manifest = build_requested_cronjob(
                schedule, spec, schedule_id, call=call, idempotent=idempotent, context=context
            )
            self._queues.check(definition, build_next_run(manifest))
            try:
                outcome = self._creator.create(manifest, call, idempotent)
            finally:
                self._counter.forget(definition.name)
        except (
            NotJson,
            Refused,
            TooManySchedulesError,
            QueueFullError,
            QueueUnknownError,
            InvalidError,
            CreateFailedError,
        ) as error:
            definite = not isinstance(error, CreateFailedError) or isinstance(error.cause, ForbiddenError)
            if idempotent is None or not definite or not self._creator.is_replay(name, idempotent):
                raise _for_caller(error, definition) from error
            outcome = CreateOutcome.REPLAYED
        return CreatedSchedule(schedule_id, fields, replayed=outcome is CreateOutcome.REPLAYED)

    def dry_run(self, definition: Definition, body: bytes, *, context: RequestContext) -> Json:
        """Do everything that making a schedule takes, but store nothing.

        Args:
            definition: the schedule's.
            body: the request's body.
            context: where the request comes from.

        Returns:
            The CronJob as the API server would store it, without what the caller may not know.

        Raises:
            Exception: as `create`, except about keys.
        """
        schedule, spec = read_requested_schedule(definition, body)
        self._check_number(definition)
        manifest = build_requested_cronjob(
            schedule, spec, new_id(), call=random_hex(16), idempotent=None, context=context
        )
        self._queues.check(definition, build_next_run(manifest))
        try:
            stored = self._client.create_cronjob(manifest, dry_run=True)
        except ForbiddenError as error:
            raise CreateFailedError(error, in_doubt=False, noun="schedule") from error
        except InvalidError as error:
            raise _for_caller(error, definition) from error
        return _redact(stored, schedule, spec, context)

    def _check_number(self, definition: Definition) -> None:
        """Check that one more schedule is allowed.

        Raises:
            TooManySchedulesError: it isn't.
            ClusterError: the call to the API server failed.
        """
        if not self._max_schedules or self._counter.count(definition.name) >= self._max_schedules:
            raise TooManySchedulesError(self._max_schedules)


def _redact(cronjob: Json, schedule: Schedule, spec: RunSpec, context: RequestContext) -> Json:
    """Return a CronJob without what its caller may not know; see `app.runs.dry_run.redact`."""
    template: Json = cronjob["spec"]["jobTemplate"]
    shown = redact({"metadata": {}, **template}, spec, schedule.request, context)
    outer = redact({**shown, "metadata": cronjob["metadata"]}, spec, schedule.request, context)
    return {**cronjob, "metadata": outer["metadata"], "spec": {**cronjob["spec"], "jobTemplate": shown}}


def _for_caller(error: Exception, definition: Definition) -> Exception:
    """Return what a caller is told of a failed create; see `app.runs.submit`."""
    if not isinstance(error, InvalidError):
        return error
    is_template = definition.template is not None and bool(error.causes)
    return TemplateRefusedError(definition.name) if is_template else InvalidScheduleError(error)
