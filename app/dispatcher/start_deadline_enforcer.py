"""Ends runs that hold a slot and have not started within their `PendingTimeoutSeconds`.

When the time of a run is over, its pods are read. If none has started, one write ends the run. The time is computed
from timestamps that Kubernetes has stored, and compared with the API server's clock. So another dispatcher, or one
whose own clock is wrong, decides the same. docs/adr/0013-limits.md says why the deadline of the Job itself ends the
run.
"""

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass

from app.common.backoff_table import BackoffTable
from app.common.outage_logger import OutageLogger
from app.dispatcher.enforcer import Enforcer, Leader
from app.dispatcher.run_store import RunStore
from app.dispatcher.start_deadline import (
    StartError,
    describe_start_error,
    find_start_deadline,
    find_start_error,
)
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.run import Run
from app.kube.attempts import read_attempt
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.manifests import build_start_timeout
from app.kube.parsing import read_run
from app.kube.pod_events import find_last_refusal, find_mount_failure
from app.telemetry import metrics

log = logging.getLogger(__name__)

_CHANGED_SECONDS = 1.0
"""The pause for a run that another client has changed at the same time."""

_REFUSAL_SECONDS = 300.0
"""The pause for a run after the API server refused to show its pods or to end it."""

_ALL = "all runs"


@dataclass(frozen=True, slots=True)
class _Look:
    """The result of a check of a run.

    Attributes:
        resource_version: the run's resourceVersion at that time. When it changes, the run is checked again.
        due: when to check again, in seconds since the epoch by the API server's clock.
    """

    resource_version: int
    due: float


class StartDeadlineEnforcer(Enforcer):
    """Ends runs that don't start, while this dispatcher leads. Has a thread of its own.

    Args:
        leader: the dispatcher.
        definitions: the names of the configured definitions. A Job may have any other name in its label.
        error_seconds: after how long a run without a start deadline is ended if an error of an image or of a
            container's configuration keeps it from starting. The run is checked twice in that time, and ended if both
            checks show the error. `None`: never.
    """

    def __init__(
        self, leader: Leader, definitions: Callable[[], Container[str]], error_seconds: int | None = None
    ) -> None:
        super().__init__(leader, "start deadlines")
        self._definitions = definitions
        self._error_seconds = error_seconds
        self._errors: dict[str, StartError] = {}
        self._looks: dict[str, _Look] = {}
        self._backoff = BackoffTable[str](_CHANGED_SECONDS, 30.0)
        self._outage = OutageLogger(log, "the pods of runs that don't start can't be read", self._clock)

    def _enforce(self, runs: RunStore) -> bool:
        """Check all runs whose time is over, and end those that have not started."""
        with self._signal.lock:
            starting = {run.uid: run for run in runs.starting() if self._is_limited(run)}
        self._looks = {uid: look for uid, look in self._looks.items() if _is_up_to_date(look, starting.get(uid))}
        self._errors = {uid: error for uid, error in self._errors.items() if uid in starting}
        self._backoff.keep({_ALL, *starting})
        now = self._client.transport.clock.now()
        known = self._looks
        due = sorted((known[uid].due if uid in known else self._first_due(run), uid) for uid, run in starting.items())
        for moment, uid in due:
            if moment > now or self._backoff.is_waiting(_ALL, self._clock()) or not self._may_write():
                break
            self._beat()
            self._try(runs, starting[uid], now)
        return False

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
            if error.outcome_unknown:  # the failure may concern only this run: check the others first
                seconds = self._backoff.fail(run.uid, self._clock(), at_least=asked_seconds)
                self._looks[run.uid] = _Look(run.resource_version, now + seconds)
            self._backoff.fail(_ALL, self._clock(), at_least=asked_seconds)

    def _look_at(self, runs: RunStore, run: Run) -> float:
        """Check a run, and end it if it has not started; return when to check again.

        Raises:
            ClusterError: a call to the API server failed. A patch without an answer is sent again if the run still has
                not started. This is safe, because no other write undoes what the patch sets.
        """
        assert run.pending_start is not None
        attempts = self._attempts_at(run)
        now = self._client.transport.clock.now()
        if run.pending_start.seconds is None:
            due, why = self._judge_error(run, attempts, now)
        else:
            moment = int(now * 1_000_000)
            found = find_start_deadline(run.pending_start, attempts, moment)
            if found is not None and found.has_pod and found.due <= moment:
                found = find_start_deadline(run.pending_start, self._add_mount_failure(run, attempts), moment)
            due, why = (float("inf"), "") if found is None else (found.due / 1_000_000, found.why)
            if found is not None and not found.has_pod and due <= now:
                why = self._add_refusal(run, why)
        if due > now:
            return due
        return now + (self._end(runs, run, why) if self._may_write() else _CHANGED_SECONDS)

    def _judge_error(self, run: Run, attempts: list[Attempt], now: float) -> tuple[float, str]:
        """Return when to check a run without a start deadline again, and why it is to be ended then."""
        assert self._error_seconds is not None
        if attempts and attempts[-1].phase == "Running" and attempts[-1].has_started:
            return float("inf"), ""
        moment, between = int(now * 1_000_000), self._error_seconds / 2
        error = find_start_error(attempts, self._errors.get(run.uid), moment)
        if error is None:
            self._errors.pop(run.uid, None)
            return now + between, ""
        self._errors[run.uid] = error
        return error.seen_at / 1_000_000 + between, describe_start_error(attempts, error, moment, self._error_seconds)

    def _add_refusal(self, run: Run, why: str) -> str:
        """Add why the run's pod could not be created, if it can be found: the run is ended in any case."""
        try:
            refusal = find_last_refusal(self._client.failed_creates(run.uid))
        except ClusterError as error:
            log.warning("run %s is ended without the Event that may say why it has not started: %s", run.name, error)
            return why
        return why if refusal is None else f"{why}: {refusal.message}"

    def _add_mount_failure(self, run: Run, attempts: list[Attempt]) -> list[Attempt]:
        """Add why the volumes of the run's pod are not mounted, if it can be found: the run is ended in any case."""
        last = attempts[-1]
        if not last.may_await_volumes:
            return attempts
        try:
            failure = find_mount_failure(self._client.events_of_pod(last.pod))
        except ClusterError as error:
            log.warning("run %s is ended without the Event that may say why it has not started: %s", run.name, error)
            return attempts
        return attempts if failure is None else [*attempts[:-1], last.without_volumes(failure.message)]

    def _is_limited(self, run: Run) -> bool:
        assert run.pending_start is not None
        return run.pending_start.seconds is not None or self._error_seconds is not None

    def _first_due(self, run: Run) -> float:
        assert run.pending_start is not None
        seconds = run.pending_start.seconds
        return run.pending_start.since / 1_000_000 + ((self._error_seconds or 0) / 2 if seconds is None else seconds)

    def _end(self, runs: RunStore, run: Run, why: str) -> float:
        """End a run that has not started; return after how many seconds to check it again."""
        try:
            written = self._client.patch_job(run.name, build_start_timeout(run.resource_version, why))
        except ConflictError:
            return _CHANGED_SECONDS  # it has changed; the watch will show how
        except NotFoundError:
            return float("inf")
        except ClusterError as error:
            if error.retryable:
                raise
            log.warning("run %s can't be ended: %s", run.name, error)
            return _REFUSAL_SECONDS
        runs.update(read_run(written))
        metrics.GIVEN_UP.labels(run.definition if run.definition in self._definitions() else metrics.UNKNOWN).inc()
        log.warning("ended %s: %s", run.name, why)
        return float("inf")

    def _attempts_at(self, run: Run) -> list[Attempt]:
        found: list[Attempt] = []
        for pod in self._client.objects(self._client.pods_of(run.name), page_seconds=CALL_SECONDS):
            attempt = read_attempt(pod)
            if attempt.owner == run.uid:
                found = keep_last([*found, attempt])
        return sort_attempts(found)


def _is_up_to_date(look: _Look, run: Run | None) -> bool:
    return run is not None and look.resource_version == run.resource_version
