"""Deleting one run, however often it takes to be sure.

A run that is queued or finished has no pod at work: its Job goes at once (background), its pods follow. Any other stays
as a Job that is being deleted until its pod is gone (foreground), and holds its slot for as long
(`app.cluster.records.phase_of`). Which one it is may change between our look and our deletion: a run that looked queued
is deleted only in the version that was seen, so that it can't have been admitted since.

Every deletion names the Job's uid. One that arrives late can't hit a later Job of the same name.
"""

from collections.abc import Callable

from app.cluster.errors import ClusterError, ConflictError, NotFoundError
from app.cluster.namespace import Namespace
from app.cluster.records import Phase, Run
from app.services.tries import BeginTries

_CONFLICTS = 4
"""After so many changes between look and deletion a run is deleted in the foreground, whatever has become of it."""


class NotCancelledError(ClusterError):
    """The API server did not delete a run, or nobody can say.

    Attributes:
        deleted: how many queued runs have certainly been deleted before; `None`: it was about one run.
    """

    def __init__(self, error: ClusterError, *, in_doubt: bool, deleted: int | None = None) -> None:
        super().__init__(error.message)
        self.may_have_happened = in_doubt
        self.retry_after_seconds = error.retry_after_seconds
        self.deleted = deleted


class Deleter:
    """Deletes runs.

    Args:
        namespace: where they are.
        begin_tries: for each of them.
    """

    def __init__(self, namespace: Namespace, begin_tries: BeginTries) -> None:
        self._namespace = namespace
        self._begin_tries = begin_tries

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
            NotCancelledError: it isn't deleted, or nobody can say.
        """
        tries, in_doubt, conflicts = self._begin_tries(), False, 0
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
                    raise NotCancelledError(error, in_doubt=in_doubt) from error
            except ClusterError as error:
                in_doubt = in_doubt or (deleting and error.may_have_happened)
                if not error.may_pass or not tries.wait(f"deleting run {run.name}", error):
                    raise NotCancelledError(error, in_doubt=in_doubt) from error
            found = None

    def _delete_once(self, run: Run, *, foreground: bool) -> None:
        if run.phase is Phase.ADMITTED or foreground:
            self._namespace.delete_job(run.name, uid=run.uid, resource_version=None, propagation="Foreground")
        else:
            # A finished run stays finished; a queued one may have been admitted since.
            version = str(run.resource_version) if run.phase is Phase.QUEUED else None
            self._namespace.delete_job(run.name, uid=run.uid, resource_version=version, propagation="Background")
