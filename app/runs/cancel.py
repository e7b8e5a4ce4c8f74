"""Cancelling one run, or all queued runs of a definition. How one run is deleted: `app.runs.deletion`."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from app.common.concurrency_limiter import ConcurrencyLimiter
from app.domain.run import Phase, Run, queue_key
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run
from app.runs.deletion import CancelFailedError, DeleteOutcome, Deleter
from app.runs.listing import is_addressable
from app.runs.reader import RunReader, UnknownRunError
from app.runs.retry_budget import DEFAULT_RETRY_POLICY, RetryPolicy
from schemas.run import RunView

_EMPTYING_SECONDS = 10.0
"""How long one request deletes queued runs before it reports how many remain. The time to list them comes on top, so
that every request deletes some."""

_PARALLEL_DELETIONS = 4
"""Connections to the API server that one request uses to empty a queue."""

_DELETIONS_PER_BATCH = 200
"""Bounds the tasks that wait in memory while a long queue is emptied."""


@dataclass(frozen=True, slots=True)
class EmptyResult:
    """What a request to empty a queue has done.

    Attributes:
        deleted: queued runs that it has deleted.
        remaining: queued runs that it had no time for.
    """

    deleted: int
    remaining: int


class _Outcome(Enum):
    """What has become of one run of a queue that is emptied."""

    DELETED = "deleted"
    LEFT_ALONE = "left alone"
    """It was admitted, or somebody else has deleted it."""
    REMAINS = "remains"
    """There was no time for it, or a deletion before it failed."""


class Canceller:
    """Cancels runs.

    Args:
        client: of the namespace that the runs are in.
        runs: reads them.
        retry_policy: for each deletion.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        runs: RunReader,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._deleter = Deleter(client, runs, retry_policy)
        self._clock = clock
        self._one_at_a_time = ConcurrencyLimiter(1, max_waiting=0, name="cancels")

    def cancel(self, definition: str, run_id: str) -> RunView:
        """Cancel a run that is queued or active; remove one that is finished.

        Returns:
            The run's last state. A run that is being deleted already is not deleted again.

        Raises:
            UnknownRunError: this definition has no such run.
            CancelFailedError: the run is not cancelled, or it is unknown whether it is.
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        deletion = self._deleter.cancel(definition, run_id)
        if deletion.outcome is DeleteOutcome.GONE:
            raise UnknownRunError(run_id)
        assert deletion.last_seen.view is not None
        return deletion.last_seen.view

    def empty(self, definition: str) -> EmptyResult:
        """Delete the runs of a definition that are queued now, from the head of the queue on.

        A run that is admitted meanwhile is left alone. A process empties one queue at a time.

        Raises:
            CancelFailedError: a deletion failed; runs behind it were not deleted.
            ClusterError: the call to the API server failed.
            BusyError: another request empties a queue.
        """
        with self._one_at_a_time.acquire():
            runs = map(read_run, self._client.objects(self._client.runs_of(definition)))
            queued = sorted((run for run in runs if run.phase is Phase.QUEUED and is_addressable(run)), key=queue_key)
            outcomes, failures = self._delete_all(queued)
        deleted = outcomes[_Outcome.DELETED]
        if failures:
            in_doubt = any(failure.outcome_unknown for failure in failures)
            raise CancelFailedError(failures[0], in_doubt=in_doubt, deleted=deleted) from failures[0]
        return EmptyResult(deleted, outcomes[_Outcome.REMAINS])

    def _delete_all(self, queued: list[Run]) -> tuple[Counter[_Outcome], list[CancelFailedError]]:
        """Delete queued runs until one fails or the time is up, and count what has become of them."""
        deadline = self._clock() + _EMPTYING_SECONDS
        failures: list[CancelFailedError] = []
        outcomes: Counter[_Outcome] = Counter()

        def delete(run: Run) -> _Outcome:
            if failures or self._clock() > deadline:
                return _Outcome.REMAINS
            try:
                outcome = self._deleter.delete_queued(run)
            except CancelFailedError as error:
                failures.append(error)
                return _Outcome.REMAINS
            return _Outcome.DELETED if outcome is DeleteOutcome.DELETED else _Outcome.LEFT_ALONE

        with ThreadPoolExecutor(_PARALLEL_DELETIONS) as pool:
            for start in range(0, len(queued), _DELETIONS_PER_BATCH):
                outcomes.update(pool.map(delete, queued[start : start + _DELETIONS_PER_BATCH]))
        return outcomes, failures
