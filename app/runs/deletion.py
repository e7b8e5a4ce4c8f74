"""Deleting one run, however often it takes to be sure.

A run that is queued or finished has no pod at work: its Job goes at once (background), its pods follow. Any other stays
as a Job that is being deleted until its pod is gone (foreground), and holds its slot for as long
(`app.kube.parsing.phase_of`). Which one it is may change between our look and our deletion: a run that looked queued
is deleted only in the version that was seen, so that it can't have been admitted since.

Every deletion names the Job's uid. One that arrives late can't hit a later Job of the same name.
"""

from collections.abc import Callable

from app.domain.run import Phase, Run
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.runs.retry_budget import StartBudget

_CONFLICTS = 4
"""After so many changes between look and deletion a run is deleted in the foreground, whatever has become of it."""


class CancelFailedError(ClusterError):
    """The API server did not delete a run, or nobody can say.

    Attributes:
        deleted: how many queued runs have certainly been deleted before; `None`: it was about one run.
    """

    reason = "NotCancelled"

    def __init__(self, error: ClusterError, *, in_doubt: bool, deleted: int | None = None) -> None:
        super().__init__(error.message)
        self.outcome_unknown = in_doubt
        self.retry_after_seconds = error.retry_after_seconds
        self.deleted = deleted

    @property
    def detail(self) -> str:
        """What is known of the runs."""
        return f"{super().detail}; {self._outcome()}; repeating the call is safe"

    def _outcome(self) -> str:
        if self.deleted is None:
            return f"the run {'may or may not have' if self.outcome_unknown else 'has not'} been cancelled"
        more = ", and some of the others may have been" if self.outcome_unknown else ""
        return f"{self.deleted} of the queued runs have been deleted{more}"


class Deleter:
    """Deletes runs.

    Args:
        client: where they are.
        start_budget: for each of them.
    """

    def __init__(self, client: NamespacedClient, start_budget: StartBudget) -> None:
        self._client = client
        self._start_budget = start_budget

    def delete(self, run: Run, look: Callable[[], Run | None], *, also_active: bool) -> bool:
        """Delete a run.

        Args:
            run: as it was seen.
            look: reads it again; `None`: it is gone, or being deleted.
            also_active: whether to delete it where it turns out not to be queued.

        Returns:
            Whether it is gone or going by our doing, as far as can be known: after a lost answer, a run that is gone
            counts as ours.

        Raises:
            CancelFailedError: it isn't deleted, or nobody can say.
        """
        budget, in_doubt, conflicts = self._start_budget(), False, 0
        found: Run | None = run
        while True:
            deleting = found is not None
            try:
                found = found or look()
                if found is None:
                    return in_doubt
                if found.phase is not Phase.QUEUED and not also_active:
                    return False
                deleting = True
                self._delete_once(found, foreground=also_active and conflicts >= _CONFLICTS)
                return True
            except NotFoundError:
                return in_doubt
            except ConflictError as error:
                conflicts += 1
                if conflicts > _CONFLICTS:
                    raise CancelFailedError(error, in_doubt=in_doubt) from error
            except ClusterError as error:
                in_doubt = in_doubt or (deleting and error.outcome_unknown)
                if not error.retryable or not budget.wait(f"deleting run {run.name}", error):
                    raise CancelFailedError(error, in_doubt=in_doubt) from error
            found = None

    def _delete_once(self, run: Run, *, foreground: bool) -> None:
        if run.phase is Phase.ADMITTED or foreground:
            self._client.delete_job(run.name, uid=run.uid, resource_version=None, propagation="Foreground")
        else:
            # A finished run stays finished; a queued one may have been admitted since.
            version = str(run.resource_version) if run.phase is Phase.QUEUED else None
            self._client.delete_job(run.name, uid=run.uid, resource_version=version, propagation="Background")
