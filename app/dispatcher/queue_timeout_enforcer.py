"""Ends runs that have been queued for longer than their `QueueTimeoutSeconds`. Such a run never gets a pod.

One patch ends the run: it removes `suspend`, forbids pods (`parallelism: 0`), and sets a deadline of one second. The
Job controller then sets `Failed`. The patch carries the resourceVersion of the queued run, so either this patch or an
admission takes effect, never both. The run holds no slot, because no pod can start (`app.kube.parsing.phase_of`). The
time is computed from timestamps in the cluster and compared with the API server's clock, so another dispatcher decides
the same. docs/adr/0013-limits.md says why the deadline of the Job itself ends the run.
"""

import logging
from collections.abc import Callable, Mapping
from itertools import islice

from app.common.backoff_table import BackoffTable
from app.common.outage_logger import OutageLogger
from app.dispatcher.enforcer import Enforcer, Leader
from app.dispatcher.run_store import RunStore
from app.domain.pending_reason import PendingReason
from app.domain.run import Phase, Run
from app.kube.errors import ClusterError, ConflictError, DeniedError, ForbiddenError, NotFoundError
from app.kube.manifests import build_queue_timeout
from app.kube.parsing import read_run
from app.telemetry import metrics

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""How many runs are chosen at a time."""

_LAST_REFUSAL_SECONDS = 300.0
"""The longest pause for a run after the API server refused to end it."""

_LAST_OUTAGE_SECONDS = 30.0
"""The longest pause for a definition whose writes get no answer, or for all definitions in an outage."""

_ALL = "all definitions"


class QueueTimeoutEnforcer(Enforcer):
    """Ends runs that have been queued for too long, while this dispatcher leads. Has a thread of its own.

    Args:
        leader: the dispatcher.
        slots: how many runs of each definition may be active.
        tell: records an Event on a run.
    """

    def __init__(
        self,
        leader: Leader,
        slots: Callable[[], Mapping[str, int]],
        tell: Callable[[Run, PendingReason, str], None],
    ) -> None:
        super().__init__(leader, "queue timeouts")
        self._slots = slots
        self._tell = tell
        self._refusals = BackoffTable[str](1.0, _LAST_REFUSAL_SECONDS)  # by uid
        self._backoff = BackoffTable[str](1.0, _LAST_OUTAGE_SECONDS)  # by definition, and `_ALL`
        self._outage = OutageLogger(log, "runs that were queued for too long can't be ended", self._clock)

    def _enforce(self, runs: RunStore) -> bool:
        """End the first runs whose time is over; return whether there may be more."""
        now = self._clock()
        with self._signal.lock:
            found = list(runs.overdue(int(self._client.transport.clock.now() * 1_000_000)))
            self._refusals.keep({run.uid for run in found})
            due = (run for run in found if not self._refusals.is_waiting(run.uid, now) and not self._is_resting(run))
            overdue = [(run, describe_wait(runs, run, self._slots())) for run in islice(due, _AT_ONCE)]
        for run, why in overdue:
            if self._stop.is_set() or not self._may_write():
                return False
            if not self._is_resting(run):
                self._beat()
                self._end(runs, run, why)
        return len(overdue) == _AT_ONCE

    def _is_resting(self, run: Run) -> bool:
        now = self._clock()
        return self._backoff.is_waiting(_ALL, now) or self._backoff.is_waiting(run.definition, now)

    def _end(self, runs: RunStore, run: Run, why: str) -> None:
        """End one run. A patch without an answer is sent again while the run is seen in the same version."""
        try:
            ended = read_run(self._client.patch_job(run.name, build_queue_timeout(run.resource_version, why)))
        except (ConflictError, NotFoundError):
            # The run has changed, perhaps by an earlier patch of ours or by an admission. The watch will show it.
            self._refusals.fail(run.uid, self._clock())
            return
        except ClusterError as error:
            self._failed(run, error)
            return
        self._outage.recovered()
        self._backoff.succeed(_ALL)
        self._backoff.succeed(run.definition)
        runs.update(ended)
        if ended.phase is Phase.QUEUED:  # a webhook has changed the patch
            self._refusals.fail(run.uid, self._clock())
            log.warning("run %s can't be ended: a webhook of the cluster has undone the change", run.name)
            return
        metrics.QUEUE_TIMEOUTS.labels(run.definition if run.definition in self._slots() else metrics.UNKNOWN).inc()
        log.warning("ended %s: it %s", run.name, why)
        self._tell(run, PendingReason.QUEUE_TIMEOUT, why)

    def _failed(self, run: Run, error: ClusterError) -> None:
        """Wait before the next try: for this run, for its definition, or for all of them."""
        now, seconds_asked = self._clock(), error.retry_after_seconds or 0
        if error.outcome_unknown:  # perhaps only this definition is affected, by a webhook: others go on
            self._outage.failed(error)
            self._backoff.fail(run.definition, now, at_least=seconds_asked)
        elif error.retryable or (isinstance(error, ForbiddenError) and not isinstance(error, DeniedError)):
            self._outage.failed(error)
            self._backoff.fail(_ALL, now, at_least=seconds_asked)
        else:
            self._refusals.fail(run.uid, now, at_least=seconds_asked)
            log.warning("run %s can't be ended: %s", run.name, error)


def describe_wait(runs: RunStore, run: Run, slots: Mapping[str, int]) -> str:
    """Say for people how long a run was queued, and what it waited for.

    Args:
        runs: the leader's store; its lock is held.
        run: queued, with a deadline.
        slots: by definition.
    """
    waited = f"was queued for longer than its QueueTimeoutSeconds ({run.queue_timeout_seconds} s)"
    if run.definition not in slots:
        return f"{waited}; the configuration has no definition {run.definition} any more"
    if run.depends_on is None:
        return f"{waited}; the list of its dependencies can't be read"
    if (name := runs.first_unready(run)) is not None:
        return f"{waited}; {name} was not ready"
    if runs.active(run.definition) >= slots[run.definition]:
        return f"{waited}; no slot was free"
    return waited
