"""Counts the ends of runs for the metrics, and writes a log line for each.

The line of a failed run has the exit code of its last container. Only its pods know that, so they are read, by a thread
of its own: no admission waits for it.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Container

from app.common.heartbeat import Heartbeat
from app.common.outage_logger import OutageLogger
from app.dispatcher.run_ends import CountedEnd
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.run import Run
from app.domain.run_end import PENDING_TIMEOUT, QUEUE_TIMEOUT, RunEnd
from app.kube.attempts import read_attempt
from app.kube.call_timeouts import CALL_SECONDS
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError
from app.telemetry import metrics

log = logging.getLogger(__name__)

_MOST_WAITING = 500
"""How many ends may wait for the exit code to be read. Further ones are logged without it."""

_KNOWN_REASONS = {"", PENDING_TIMEOUT, QUEUE_TIMEOUT, "BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"}
"""The reasons that the metrics tell apart. Kubernetes' own:
https://pkg.go.dev/k8s.io/api/batch/v1#pkg-constants"""

_OTHER = "Other"


class EndReporter:
    """Counts and logs ends. Has a thread of its own.

    Args:
        client: the client of the namespace.
        definitions: the names of the configured definitions. A Job may have any other name in its label.
        heartbeat: beats around every call.
    """

    def __init__(
        self, client: NamespacedClient, definitions: Callable[[], Container[str]], heartbeat: Heartbeat
    ) -> None:
        self._client = client
        self._definitions = definitions
        self._heartbeat = heartbeat
        self._waiting: deque[CountedEnd] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._outage = OutageLogger(log, "the exit codes of runs that failed can't be read")
        self.thread = threading.Thread(target=self._run, name="run-ends", daemon=True)

    def report(self, counted: CountedEnd) -> None:
        """Count an end now, and log it soon."""
        run, end = counted
        definition = run.definition if run.definition in self._definitions() else metrics.UNKNOWN
        reason = end.reason if end.reason in _KNOWN_REASONS else _OTHER
        metrics.ENDED_RUNS.labels(definition, end.outcome, reason).inc()
        if end.seconds is not None:
            metrics.RUN_SECONDS.labels(definition).observe(end.seconds)
        if end.retries:
            metrics.RETRIES.labels(definition).inc(end.retries)
        if end.failed_pods and end.outcome == "failed":
            with self._changed:
                if len(self._waiting) < _MOST_WAITING and not self._stopped:
                    self._waiting.append(counted)
                    self._changed.notify()
                    return
        _log(run, end, None)

    def stop(self) -> None:
        """Ask the thread to end after its current call; returns at once. What still waits is logged without a call."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while (counted := self._next()) is not None:
            self._heartbeat.beat("run-ends")
            try:
                _log(*counted, None if self._stopped else self._read_exit_code(counted.run))
            except Exception:
                log.exception("the end of run %s could not be logged", counted.run.name)
            self._heartbeat.rest("run-ends")

    def _next(self) -> CountedEnd | None:
        with self._changed:
            while not self._waiting and not self._stopped:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _read_exit_code(self, run: Run) -> int | None:
        """Return the exit code of the run's container that ended last; `None`: unknown, or its pods are gone."""
        found: list[Attempt] = []
        try:
            for pod in self._client.objects(self._client.pods_of(run.name), page_seconds=CALL_SECONDS):
                attempt = read_attempt(pod)
                if attempt.owner == run.uid:
                    found = keep_last([*found, attempt])
            self._outage.recovered()
        except ClusterError as error:
            self._outage.failed(error)
            return None
        endings = [attempt.ending for attempt in sort_attempts(found) if attempt.ending is not None]
        return endings[-1].exit_code if endings else None


def _log(run: Run, end: RunEnd, exit_code: int | None) -> None:
    """Write the line of an end."""
    parts = [f"reason {end.reason}"] if end.reason else []
    parts += [] if end.seconds is None else [f"ran for {end.seconds:.0f} s"]
    parts += [] if exit_code is None else [f"exit code {exit_code}"]
    parts += [f"retries {end.retries}"] if end.retries else []
    parts += [f"started by {end.started_by}"] if end.started_by else []
    fields = {
        "definition": run.definition,
        "run": run.name,
        "outcome": end.outcome,
        "reason": end.reason,
        "seconds": None if end.seconds is None else int(end.seconds),
        "exit_code": exit_code,
        "retries": end.retries,
        "started_by": end.started_by,
    }
    text = f"run {run.name} {end.outcome}" + (": " + ", ".join(parts) if parts else "")
    log.info("%s", text, extra={"fields": fields})
