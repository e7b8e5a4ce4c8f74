"""Deleting one run, with retries until the outcome is certain.

No pod of a queued or finished run is at work: its Job is deleted at once (background), its pods follow. The Job of any
other run stays until its pod is gone (foreground), and holds its slot until then (`app.kube.parsing.phase_of`). A
queued run may be admitted between our read and our delete. So it is deleted only in the version that was read.

Every delete names the Job's uid. A delete that arrives late can't hit a later Job of the same name.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from app.common.types import Json
from app.domain.names import id_in
from app.domain.run import Phase, Run
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.manifests import format_time
from app.kube.parsing import read_run
from app.runs.reader import RunReader, UnknownRunError
from app.runs.retry_budget import RetryBudget, RetryPolicy
from app.runs.run_status import build_view
from schemas.run import RunView

_MAX_CONFLICTS = 4
"""After this many changes between read and delete, a run is deleted in the foreground, in any version."""


class CancelFailedError(ClusterError):
    """The API server has not deleted a run, or it is unknown whether it has.

    Attributes:
        deleted: how many queued runs have certainly been deleted before; `None`: the request was about one run.
    """

    reason = "NotCancelled"

    def __init__(self, error: ClusterError, *, in_doubt: bool, deleted: int | None = None) -> None:
        super().__init__(error.message)
        self.outcome_unknown = in_doubt
        self.retry_after_seconds = error.retry_after_seconds
        self.deleted = deleted

    @property
    def detail(self) -> str:
        """What has become of the runs, as far as it is known."""
        return f"{super().detail}; {self._outcome()}; repeating the request is safe"

    def _outcome(self) -> str:
        if self.deleted is None:
            return f"the run {'may or may not have' if self.outcome_unknown else 'has not'} been cancelled"
        more = ", and some of the others may have been" if self.outcome_unknown else ""
        return f"{self.deleted} of the queued runs have been deleted{more}"


class DeleteOutcome(Enum):
    """What has become of a run that was to be deleted."""

    DELETED = "deleted"
    """This request has deleted it. After a lost response, a run that is gone counts as deleted by this request."""
    BEING_DELETED = "being deleted"
    """Somebody else deletes it; its Job is still there."""
    GONE = "gone"
    """Somebody else had deleted it."""
    NOT_QUEUED = "not queued"
    """Only queued runs were to be deleted, and it is not queued any more."""


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as it was read before its deletion.

    Attributes:
        run: the run.
        being_deleted: whether its Job has a deletion timestamp.
        view: what the caller gets if the run is deleted now; `None`: nobody needs it.
    """

    run: Run
    being_deleted: bool = False
    view: RunView | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """How a deletion ended.

    Attributes:
        outcome: what has become of the run.
        last_seen: the run as it was last read.
    """

    outcome: DeleteOutcome
    last_seen: SeenRun


class Deleter:
    """Deletes runs.

    Args:
        client: of the namespace that the runs are in.
        runs: reads them.
        retry_policy: for each deletion.
    """

    def __init__(self, client: NamespacedClient, runs: RunReader, retry_policy: RetryPolicy) -> None:
        self._client = client
        self._runs = runs
        self._retry_policy = retry_policy

    def cancel(self, definition: str, run_id: str) -> Deletion:
        """Delete a run, in any phase. The result has a view of its last state, which was read before the delete.

        Raises:
            UnknownRunError: this definition has no such run.
            CancelFailedError: the run is not deleted, or it is unknown whether it is.
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        return self._delete(self._read(definition, run_id, with_view=True), only_queued=False)

    def delete_queued(self, run: Run) -> DeleteOutcome:
        """Delete a run if it is still queued.

        Args:
            run: queued, as it was listed.

        Raises:
            CancelFailedError: the run is not deleted, or it is unknown whether it is.
        """
        return self._delete(SeenRun(run), only_queued=True).outcome

    def _delete(self, seen: SeenRun, *, only_queued: bool) -> Deletion:
        budget, in_doubt, conflicts, stale = RetryBudget(self._retry_policy), False, 0, False
        while True:
            sent = False
            try:
                latest = self._read_again(seen, with_view=not only_queued) if stale else seen
                outcome = _settle(latest, in_doubt=in_doubt, only_queued=only_queued)
                seen = latest or seen
                if outcome is not None:
                    return Deletion(outcome, seen)
                sent = True
                self._send(seen.run, foreground=not only_queued and conflicts >= _MAX_CONFLICTS)
                return Deletion(DeleteOutcome.DELETED, seen)
            except NotFoundError:
                return Deletion(DeleteOutcome.DELETED if in_doubt else DeleteOutcome.GONE, seen)
            except ConflictError as error:
                conflicts += 1
                if conflicts > _MAX_CONFLICTS:
                    raise CancelFailedError(error, in_doubt=in_doubt) from error
            except ClusterError as error:
                in_doubt = in_doubt or (sent and error.outcome_unknown)
                if not error.retryable or not budget.wait(f"deleting run {seen.run.name}", error):
                    raise CancelFailedError(error, in_doubt=in_doubt) from error
            stale = True

    def _send(self, run: Run, *, foreground: bool) -> None:
        """Send one delete; `foreground`: delete the run in this way whatever its phase is."""
        if run.phase is Phase.ADMITTED or foreground:
            self._client.delete_job(run.name, uid=run.uid, resource_version=None, propagation="Foreground")
        else:
            # A finished run stays finished; a queued one may have been admitted since.
            version = str(run.resource_version) if run.phase is Phase.QUEUED else None
            self._client.delete_job(run.name, uid=run.uid, resource_version=version, propagation="Background")

    def _read_again(self, seen: SeenRun, *, with_view: bool) -> SeenRun | None:
        """Read a run again; `None`: it is gone, though another one may have its name."""
        try:
            latest = self._read(seen.run.definition, id_in(seen.run.definition, seen.run.name), with_view=with_view)
        except UnknownRunError:
            return None
        return latest if latest.run.uid == seen.run.uid else None

    def _read(self, definition: str, run_id: str, *, with_view: bool) -> SeenRun:
        job = self._runs.find(definition, run_id)
        view = self._view_as_deleted(job) if with_view else None
        return SeenRun(read_run(job), "deletionTimestamp" in job["metadata"], view)

    def _view_as_deleted(self, job: Json) -> RunView:
        """Make the view of a run as if its deletion had begun."""
        run = read_run(job)
        attempts = [] if run.phase is Phase.QUEUED else self._runs.attempts_at(run)
        metadata = {"deletionTimestamp": format_time(datetime.now(UTC))} | job["metadata"]
        return build_view({**job, "metadata": metadata}, attempts)


def _settle(latest: SeenRun | None, *, in_doubt: bool, only_queued: bool) -> DeleteOutcome | None:
    """Decide whether a deletion is over before a delete is sent.

    Args:
        latest: the run as it is now; `None`: it is gone.
        in_doubt: whether an earlier delete may have been carried out.
        only_queued: whether the run is to be left alone unless it is queued.

    Returns:
        The outcome; `None`: a delete has to be sent.
    """
    if latest is None:
        return DeleteOutcome.DELETED if in_doubt else DeleteOutcome.GONE
    if latest.being_deleted:
        return DeleteOutcome.DELETED if in_doubt else DeleteOutcome.BEING_DELETED
    if only_queued and latest.run.phase is not Phase.QUEUED:
        return DeleteOutcome.NOT_QUEUED
    return None
