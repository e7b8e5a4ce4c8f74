"""Pausing, resuming and deleting a schedule that a request has made, with retries until the outcome is certain."""

from app.common.errors import ErrorKind, ServiceError
from app.common.types import Json
from app.domain.run import Phase
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.parsing import read_run
from app.kube.schedules import build_suspension, check_stored, read_origin, schedule_id_of
from app.runs.deletion import Deleter
from app.runs.reader import RunReader
from app.runs.retry_budget import DEFAULT_RETRY_POLICY, RetryBudget, RetryPolicy
from app.runs.schedules.counter import ScheduleCounter
from app.runs.schedules.reader import ScheduleReader, UnknownScheduleError
from schemas.definition import Definition
from schemas.schedule_view import ScheduleView

_MAX_CONFLICTS = 8
"""The CronJob controller writes the status of a CronJob at each time of its schedule, a few writes in a row."""

_DELETING_SECONDS = 10.0
"""How long one request deletes the queued runs of a schedule; one with `Allow` may have many."""


class ConfiguredScheduleError(ServiceError):
    """The schedule was not made by a request.

    Args:
        definition: the schedule's.
    """

    kind = ErrorKind.CONFLICT

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition.name)
        self._definition = definition

    @property
    def detail(self) -> str:
        """Where to change it."""
        if self._definition.source == "CronJob":
            place = f"the annotation SlimFaas/Schedules of the CronJob {self._definition.name}"
        else:
            place = "the configuration (Schedules)"
        return f"this schedule comes from {place}: change it there; nothing has been done"


class ChangeFailedError(ClusterError):
    """The API server has not changed or deleted a schedule, or it is unknown whether it has."""

    reason = "NotChanged"

    def __init__(self, error: ClusterError, *, in_doubt: bool) -> None:
        super().__init__(error.message)
        self.outcome_unknown = in_doubt
        self.retry_after_seconds = error.retry_after_seconds

    @property
    def detail(self) -> str:
        """What has become of the schedule, as far as it is known."""
        done = "may or may not have" if self.outcome_unknown else "has not"
        return f"{super().detail}; the schedule {done} been changed; repeating the request is safe"


class DeletionUnfinishedError(ServiceError):
    """There was no time to delete all queued runs of a schedule, and then the schedule."""

    kind = ErrorKind.UNAVAILABLE
    detail = (
        "the schedule is not deleted yet, because its queued runs are deleted first, which takes longer; repeat the "
        "request to go on"
    )


class ScheduleChanger:
    """Changes and deletes schedules.

    Args:
        client: of the namespace that they are in.
        reader: reads them.
        runs: reads their runs.
        counter: is told of schedules that are gone.
        retry_policy: for each change.
    """

    def __init__(
        self,
        client: NamespacedClient,
        reader: ScheduleReader,
        runs: RunReader,
        counter: ScheduleCounter,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        self._client = client
        self._counter = counter
        self._reader = reader
        self._deleter = Deleter(client, runs, retry_policy)
        self._retry_policy = retry_policy

    def suspend(self, definition: Definition, schedule_id: str, owner: str | None, *, suspend: bool) -> ScheduleView:
        """Pause or resume a schedule; one that is in this state already stays as it is.

        Args:
            definition: the definition.
            schedule_id: the schedule's id.
            owner: see `ScheduleReader.find`.
            suspend: whether it is to be paused.

        Returns:
            The schedule as it is then.

        Raises:
            UnknownScheduleError: this definition has no such schedule.
            ConfiguredScheduleError: no request has made it.
            Refused: it is to be resumed, and its definition does not allow any more what it asks for.
            ChangeFailedError: it is not changed, or it is unknown whether it is.
            ClusterError: the call to the API server failed.
        """
        budget, in_doubt, conflicts = RetryBudget(self._retry_policy), False, 0
        while True:
            cronjob = self._find(definition, schedule_id, owner)
            if not suspend:
                check_stored(cronjob, definition)
            patch = build_suspension(cronjob, suspend=suspend)
            if patch is None:
                return self._reader.view(definition, cronjob)
            try:
                changed = self._client.patch_cronjob(cronjob["metadata"]["name"], patch)
                return self._reader.view(definition, changed)
            except NotFoundError:
                raise UnknownScheduleError(schedule_id) from None
            except ConflictError as error:
                conflicts += 1
                if conflicts > _MAX_CONFLICTS:
                    raise ChangeFailedError(error, in_doubt=in_doubt) from error
            except ClusterError as error:
                in_doubt = in_doubt or error.outcome_unknown
                if not error.retryable or not budget.wait(f"changing a schedule of {definition.name}", error):
                    raise ChangeFailedError(error, in_doubt=in_doubt) from error

    def delete(self, definition: Definition, schedule_id: str, owner: str | None) -> None:
        """Delete a schedule, and its runs that are still queued. Its other runs stay.

        First it is paused, so that Kubernetes makes no more runs. Then its queued runs are deleted. When none is left,
        the schedule is deleted in the version that was read before: nobody has resumed it meanwhile. After each step it
        is read again, so a deletion that ends in between can be repeated. Kubernetes may have begun to make a run when
        the schedule is paused. If that run is stored after the runs were listed, it may stay.

        Every delete names the CronJob's uid. A delete that arrives late can't hit a later CronJob of the same name.

        Raises:
            UnknownScheduleError: this definition has no such schedule.
            ConfiguredScheduleError: no request has made it.
            DeletionUnfinishedError: there was no time for all steps.
            ChangeFailedError: it is not deleted, or it is unknown whether it is.
            ClusterError: the call to the API server failed.
        """
        budget, in_doubt, uid = RetryBudget(self._retry_policy), False, ""
        deadline = self._retry_policy.clock() + _DELETING_SECONDS
        while True:
            try:
                cronjob = self._find(definition, schedule_id, owner)
            except UnknownScheduleError:
                if in_doubt:
                    return
                raise
            if uid not in ("", cronjob["metadata"]["uid"]):
                return  # a later one has its name
            uid = cronjob["metadata"]["uid"]
            try:
                if self._take_step(definition.name, cronjob, deadline):
                    return
                in_doubt = True
            except NotFoundError:
                if in_doubt:
                    return
                raise UnknownScheduleError(schedule_id) from None
            except ClusterError as error:
                in_doubt = in_doubt or error.outcome_unknown
                retryable = error.retryable or isinstance(error, ConflictError)
                if not retryable or not budget.wait(f"deleting a schedule of {definition.name}", error):
                    raise ChangeFailedError(error, in_doubt=in_doubt) from error

    def _take_step(self, definition: str, cronjob: Json, deadline: float) -> bool:
        """Take the next step to delete a schedule; return whether it was the last one.

        Args:
            definition: the schedule's.
            cronjob: the schedule, as it is now.
            deadline: by the clock of the retry policy; after this time no step begins.
        """
        if self._retry_policy.clock() > deadline:
            raise DeletionUnfinishedError("no time for the next step")
        metadata = cronjob["metadata"]
        if (patch := build_suspension(cronjob, suspend=True)) is not None:
            self._client.patch_cronjob(metadata["name"], patch)
            return False
        if self._delete_queued_runs(definition, schedule_id_of(cronjob), deadline):
            return False
        try:
            self._client.delete_cronjob(
                metadata["name"], uid=metadata["uid"], resource_version=metadata["resourceVersion"]
            )
        finally:
            self._counter.forget(definition)
        return True

    def _delete_queued_runs(self, definition: str, schedule_id: str, deadline: float) -> bool:
        """Delete the runs of a schedule that are queued, each only if it still is; return whether there were any."""
        runs = map(read_run, self._client.objects(self._client.runs_of_schedule(definition, schedule_id)))
        queued = [run for run in runs if run.phase is Phase.QUEUED]
        for number, run in enumerate(queued):
            if number and self._retry_policy.clock() > deadline:
                raise DeletionUnfinishedError(f"{number} of {len(queued)} queued runs are deleted")
            self._deleter.delete_queued(run)
        return bool(queued)

    def _find(self, definition: Definition, schedule_id: str, owner: str | None) -> Json:
        cronjob = self._reader.find(definition.name, schedule_id, owner)
        if read_origin(cronjob) != "http":
            raise ConfiguredScheduleError(definition)
        return cronjob
