"""Enforcing start deadlines: runs that hold a slot and have not started in time are given up.

Their pods are looked at when their time is over, and then it takes one write. The time counts from what Kubernetes has
written down, by the API server's clock: another dispatcher, or one whose own clock is wrong, comes to the same end. Why
the Job's own deadline is what ends a run: docs/adr/0013-limits.md.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.common.backoff_table import BackoffTable
from app.common.heartbeat import Heartbeat
from app.common.outage_logger import OutageLogger
from app.dispatcher.run_store import ChangeSignal, RunStore
from app.dispatcher.start_deadline import StartDeadline, find_start_deadline
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.run import Run
from app.kube.attempts import read_attempt
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.manifests import build_giving_up
from app.kube.parsing import read_run
from app.telemetry import metrics

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often the runs are gone through; that makes no call before the time of one of them is over."""

_CHANGED_SECONDS = 1.0
"""How long a run is left alone that has changed under our hands."""

_REFUSAL_SECONDS = 300.0
"""How long a run is left alone that the API server would not let us look at, or give up."""

_ALL = "all runs"


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found when a run was looked at.

    Attributes:
        resource_version: of the run then; once it has changed, it is looked at anew.
        due: when to look again, seconds since the epoch by the API server's clock.
    """

    resource_version: int
    due: float


class StartDeadlineEnforcer:
    """Gives up, for a leader, runs that don't start. Has a thread of its own.

    Args:
        client: whose runs.
        signal: whose lock guards the runs.
        runs: the leader's store.
        may_write: asked before every call whether this dispatcher leads.
        heartbeat: beats around every call.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        signal: ChangeSignal,
        runs: Callable[[], RunStore],
        may_write: Callable[[], bool],
        heartbeat: Heartbeat,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._signal = signal
        self._runs = runs
        self._may_write = may_write
        self._heartbeat = heartbeat
        self._clock = clock
        self._looks: dict[str, _Look] = {}
        self._backoff = BackoffTable[str](_CHANGED_SECONDS, 30.0)
        self._outage = OutageLogger(log, "runs that don't start can't be looked at", clock)
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="start-deadlines", daemon=True)

    def stop(self) -> None:
        """Have the thread end after the call under way; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                if self._may_write():
                    self._enforce(self._runs())
            except Exception:
                log.exception("start deadlines could not be enforced")
            self._heartbeat.rest("start-deadlines")

    def _enforce(self, runs: RunStore) -> None:
        """Look at the runs whose time is over, and give up those that have not started."""
        with self._signal.lock:
            starting = {run.uid: run for run in runs.starting()}
        self._looks = {uid: look for uid, look in self._looks.items() if _is_of(look, starting.get(uid))}
        self._backoff.keep({_ALL, *starting})
        now = self._client.transport.clock.now()
        known = self._looks
        due = sorted((known[uid].due if uid in known else _first_due(run), uid) for uid, run in starting.items())
        for moment, uid in due:
            if moment > now or self._backoff.is_waiting(_ALL, self._clock()) or not self._may_write():
                return
            self._heartbeat.beat("start-deadlines")
            self._try(runs, starting[uid], now)

    def _try(self, runs: RunStore, run: Run, now: float) -> None:
        try:
            self._looks[run.uid] = _Look(run.resource_version, self._look_at(runs, run))
            self._outage.recovered()
            self._backoff.succeed(run.uid)
            self._backoff.succeed(_ALL)
        except ClusterError as error:
            self._outage.failed(error)
            if not error.retryable:
                self._looks[run.uid] = _Look(run.resource_version, now + _REFUSAL_SECONDS)
                return
            asked_seconds = error.retry_after_seconds or 0
            if error.outcome_unknown:  # it may be this run's own affair: others go first
                seconds = self._backoff.fail(run.uid, self._clock(), at_least=asked_seconds)
                self._looks[run.uid] = _Look(run.resource_version, now + seconds)
            self._backoff.fail(_ALL, self._clock(), at_least=asked_seconds)

    def _look_at(self, runs: RunStore, run: Run) -> float:
        """Look at a run, and give it up where it has not started; when to look again.

        Raises:
            ClusterError: the API server can't be asked. A patch without an answer is sent again where it is still
                called for: nothing else ever takes back what it sets.
        """
        assert run.pending_start is not None
        found = find_start_deadline(run.pending_start, self._attempts_at(run))
        now = self._client.transport.clock.now()
        if found is None:
            return float("inf")
        if (due := found.due / 1_000_000) > now:
            return due
        return now + (self._give_up(runs, run, found) if self._may_write() else _CHANGED_SECONDS)

    def _give_up(self, runs: RunStore, run: Run, deadline: StartDeadline) -> float:
        """Write that a run is given up; after how many seconds to look again."""
        try:
            written = self._client.patch_job(run.name, build_giving_up(run.resource_version, deadline.why))
        except ConflictError:
            return _CHANGED_SECONDS  # it has changed; the watch will show how
        except NotFoundError:
            return float("inf")
        except ClusterError as error:
            if error.retryable:
                raise
            log.warning("run %s can't be given up: %s", run.name, error)
            return _REFUSAL_SECONDS
        runs.update(read_run(written))
        metrics.GIVEN_UP.labels(run.definition).inc()
        log.warning("gave up %s: %s", run.name, deadline.why)
        return float("inf")

    def _attempts_at(self, run: Run) -> list[Attempt]:
        found: list[Attempt] = []
        for pod in self._client.objects(self._client.pods_of(run.name), page_seconds=CALL_SECONDS):
            attempt = read_attempt(pod)
            if attempt.owner == run.uid:
                found = keep_last([*found, attempt])
        return sort_attempts(found)


def _is_of(look: _Look, run: Run | None) -> bool:
    return run is not None and look.resource_version == run.resource_version


def _first_due(run: Run) -> float:
    assert run.pending_start is not None
    return run.pending_start.since / 1_000_000 + run.pending_start.seconds
