"""Cancelling runs: by deleting their Jobs, such that no slot is free before its pod is gone.

A run that is queued or finished has no pod at work: its Job goes at once (background), its pods follow. Any other stays
as a Job that is being deleted until its pod is gone (foreground), and holds its slot for as long
(`app.cluster.records.phase_of`). Which one it is may change between our look and our deletion: a run that looked queued
is deleted only in the version that was seen, so that it can't have been admitted since.

Every deletion names the Job's uid. One that arrives late can't hit a later Job of the same name.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from app.cluster.client import Json
from app.cluster.errors import ClusterError, ConflictError, NotFoundError
from app.cluster.manifests import format_time
from app.cluster.names import id_in
from app.cluster.namespace import Namespace
from app.cluster.records import Phase, Run, place, read_run
from app.services.gate import Gate
from app.services.listing import is_addressable
from app.services.runs import Runs, UnknownRunError
from app.services.views import build_view
from schemas.run import RunView

log = logging.getLogger(__name__)

_PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Between the tries after the API server gave no answer, or was busy."""

_LAST_TRY_SECONDS = 4.0
"""After so long no further try begins: the caller had better hear that something is wrong."""

_CONFLICTS = 4
"""After so many changes between look and deletion a run is deleted in the foreground, whatever has become of it."""

_EMPTYING_SECONDS = 10.0
"""How long one call empties a queue before it says how many runs remain."""

_DELETIONS_AT_ONCE = 4
"""Connections to the API server that the emptying of a queue takes."""

_DELETIONS_PER_BATCH = 200
"""So that a queue of ten thousand doesn't become ten thousand tasks at once."""


class NotCancelledError(ClusterError):
    """The API server did not delete a run, or nobody can say.

    Attributes:
        deleted: how many queued runs have certainly been deleted before; `None`: it was about one run.
    """

    def __init__(self, error: ClusterError, *, in_doubt: bool, deleted: int | None = None) -> None:
        super().__init__(error.message)
        self.may_have_happened = in_doubt
        self.deleted = deleted


@dataclass(frozen=True, slots=True)
class Emptied:
    """What has become of a definition's queue.

    Attributes:
        deleted: the queued runs that this call has deleted.
        remaining: queued runs that it hasn't come to in its time.
    """

    deleted: int
    remaining: int


class _Outcome(Enum):
    """What has become of one run of a queue that is emptied."""

    DELETED = "deleted"
    LEFT_ALONE = "left alone"
    """It was admitted, or deleted by others."""
    REMAINS = "remains"
    """Its turn has not come."""


class Canceller:
    """Cancels runs.

    Args:
        namespace: where they are.
        runs: finds them.
        sleep: waits for so many seconds between two tries.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        namespace: Namespace,
        runs: Runs,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = namespace
        self._runs = runs
        self._sleep = sleep
        self._clock = clock
        self._one_at_a_time = Gate(places=1)

    def cancel(self, definition: str, run_id: str) -> RunView:
        """Cancel a run that is queued or active, remove one that is finished.

        Returns:
            The run's last state. One that is being deleted already is left to that.

        Raises:
            UnknownRunError: this definition has no such run.
            NotCancelledError: it isn't cancelled, or nobody can say.
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        job = self._runs.find(definition, run_id)
        run, last = read_run(job), self._last_view(job)
        going = "deletionTimestamp" in job["metadata"]

        def look() -> Run | None:
            nonlocal last, going
            try:
                job = self._runs.find(definition, run_id)
            except UnknownRunError:
                return None
            found = read_run(job)
            if found.uid != run.uid:
                return None
            last, going = self._last_view(job), "deletionTimestamp" in job["metadata"]
            return None if going else found

        if not going and not self._delete(run, look, also_active=True) and not going:
            raise UnknownRunError(run_id)
        return last

    def empty(self, definition: str) -> Emptied:
        """Delete the runs of a definition that are queued now, from the head of the queue on.

        A run that is admitted meanwhile is left alone. One call of a process does this at a time.

        Raises:
            NotCancelledError: the API server went away meanwhile.
            ClusterError: the API server can't be asked.
            BusyError: another call does it.
        """
        with self._one_at_a_time.place():
            ends = self._clock() + _EMPTYING_SECONDS
            runs = map(read_run, self._namespace.objects(self._namespace.runs_of(definition)))
            queued = sorted((run for run in runs if run.phase is Phase.QUEUED and is_addressable(run)), key=place)
            failures: list[NotCancelledError] = []

            def delete(run: Run) -> _Outcome:
                if failures or self._clock() > ends:
                    return _Outcome.REMAINS
                try:
                    ours = self._delete(run, lambda: self._look_again(run), also_active=False)
                except NotCancelledError as error:
                    failures.append(error)
                    return _Outcome.REMAINS
                return _Outcome.DELETED if ours else _Outcome.LEFT_ALONE

            outcomes: Counter[_Outcome] = Counter()
            with ThreadPoolExecutor(_DELETIONS_AT_ONCE) as deleters:
                for start in range(0, len(queued), _DELETIONS_PER_BATCH):
                    outcomes.update(deleters.map(delete, queued[start : start + _DELETIONS_PER_BATCH]))
        deleted = outcomes[_Outcome.DELETED]
        if failures:
            in_doubt = any(failure.may_have_happened for failure in failures)
            raise NotCancelledError(failures[0], in_doubt=in_doubt, deleted=deleted) from failures[0]
        return Emptied(deleted, outcomes[_Outcome.REMAINS])

    def _look_again(self, run: Run) -> Run | None:
        try:
            job = self._runs.find(run.definition, id_in(run.name))
        except UnknownRunError:
            return None
        found = read_run(job)
        return None if found.uid != run.uid or "deletionTimestamp" in job["metadata"] else found

    def _delete(self, run: Run, look: Callable[[], Run | None], *, also_active: bool) -> bool:
        """Delete a run, however often it takes to be sure.

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
        began, pauses = self._clock(), iter(_PAUSES_SECONDS)
        in_doubt, conflicts = False, 0
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
                again = error.may_pass
                pause_seconds = next(pauses, None)
                if not again or pause_seconds is None or self._clock() - began > _LAST_TRY_SECONDS:
                    raise NotCancelledError(error, in_doubt=in_doubt) from error
                log.warning("deleting run %s once more: %s", run.name, error)
                self._sleep(pause_seconds)
            found = None

    def _delete_once(self, run: Run, *, foreground: bool) -> None:
        if run.phase is Phase.ADMITTED or foreground:
            self._namespace.delete_job(run.name, uid=run.uid, resource_version=None, propagation="Foreground")
        else:
            # A finished run stays finished; a queued one may have been admitted since.
            version = str(run.resource_version) if run.phase is Phase.QUEUED else None
            self._namespace.delete_job(run.name, uid=run.uid, resource_version=version, propagation="Background")

    def _last_view(self, job: Json) -> RunView:
        """A run that is about to be deleted, or being deleted: as it is, but on its way out."""
        run = read_run(job)
        attempts = [] if run.phase is Phase.QUEUED else self._runs.attempts_at(run)
        deleted = {"deletionTimestamp": format_time(datetime.now(UTC))} | job["metadata"]
        return build_view({**job, "metadata": deleted}, attempts)
