"""Cancelling runs, one by its id or a definition's whole queue; how each is deleted: `app.runs.deletion`."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial

from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.types import Json
from app.domain.names import id_in
from app.domain.run import Phase, Run, queue_key
from app.kube.client import NamespacedClient
from app.kube.manifests import format_time
from app.kube.parsing import read_run
from app.runs.deletion import CancelFailedError, Deleter
from app.runs.listing import is_addressable
from app.runs.reader import RunReader, UnknownRunError
from app.runs.retry_budget import RetryBudget
from app.runs.run_status import build_view
from schemas.run import RunView

_EMPTYING_SECONDS = 10.0
"""How long one call deletes the runs of a queue before it says how many remain; listing them comes on top, so that each
call gets somewhere."""

_DELETIONS_AT_ONCE = 4
"""Connections to the API server that the emptying of a queue takes."""

_DELETIONS_PER_BATCH = 200
"""So that a queue of ten thousand doesn't become ten thousand tasks at once."""


@dataclass(frozen=True, slots=True)
class EmptyResult:
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
        client: where they are.
        runs: finds them.
        sleep: waits for so many seconds between two tries.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        runs: RunReader,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._runs = runs
        self._deleter = Deleter(client, partial(RetryBudget, sleep, clock))
        self._clock = clock
        self._one_at_a_time = ConcurrencyLimiter(1, max_waiting=0, name="cancels")

    def cancel(self, definition: str, run_id: str) -> RunView:
        """Cancel a run that is queued or active, remove one that is finished.

        Returns:
            The run's last state. One that is being deleted already is left to that.

        Raises:
            UnknownRunError: this definition has no such run.
            CancelFailedError: it isn't cancelled, or nobody can say.
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

        if not going and not self._deleter.delete(run, look, also_active=True) and not going:
            raise UnknownRunError(run_id)
        return last

    def empty(self, definition: str) -> EmptyResult:
        """Delete the runs of a definition that are queued now, from the head of the queue on.

        A run that is admitted meanwhile is left alone. One call of a process does this at a time.

        Raises:
            CancelFailedError: the API server went away meanwhile.
            ClusterError: the API server can't be asked.
            BusyError: another call does it.
        """
        with self._one_at_a_time.acquire():
            runs = map(read_run, self._client.objects(self._client.runs_of(definition)))
            queued = sorted((run for run in runs if run.phase is Phase.QUEUED and is_addressable(run)), key=queue_key)
            ends = self._clock() + _EMPTYING_SECONDS  # however long it took to list them
            failures: list[CancelFailedError] = []

            def delete(run: Run) -> _Outcome:
                if failures or self._clock() > ends:
                    return _Outcome.REMAINS
                try:
                    ours = self._deleter.delete(run, lambda: self._look_again(run), also_active=False)
                except CancelFailedError as error:
                    failures.append(error)
                    return _Outcome.REMAINS
                return _Outcome.DELETED if ours else _Outcome.LEFT_ALONE

            outcomes: Counter[_Outcome] = Counter()
            with ThreadPoolExecutor(_DELETIONS_AT_ONCE) as deleters:
                for start in range(0, len(queued), _DELETIONS_PER_BATCH):
                    outcomes.update(deleters.map(delete, queued[start : start + _DELETIONS_PER_BATCH]))
        deleted = outcomes[_Outcome.DELETED]
        if failures:
            in_doubt = any(failure.outcome_unknown for failure in failures)
            raise CancelFailedError(failures[0], in_doubt=in_doubt, deleted=deleted) from failures[0]
        return EmptyResult(deleted, outcomes[_Outcome.REMAINS])

    def _look_again(self, run: Run) -> Run | None:
        try:
            job = self._runs.find(run.definition, id_in(run.name))
        except UnknownRunError:
            return None
        found = read_run(job)
        return None if found.uid != run.uid or "deletionTimestamp" in job["metadata"] else found

    def _last_view(self, job: Json) -> RunView:
        """A run that is about to be deleted, or being deleted: as it is, but on its way out."""
        run = read_run(job)
        attempts = [] if run.phase is Phase.QUEUED else self._runs.attempts_at(run)
        deleted = {"deletionTimestamp": format_time(datetime.now(UTC))} | job["metadata"]
        return build_view({**job, "metadata": deleted}, attempts)
