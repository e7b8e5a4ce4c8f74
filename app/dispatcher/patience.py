"""Giving up runs that hold a slot and don't start: looking at their pods when their time is over, and one write.

The time counts from what Kubernetes has written down, by the API server's clock: another dispatcher, or one whose own
clock is wrong, comes to the same end. Why the Job's own deadline is what ends a run: docs/adr/0013-limits.md.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.common.outage_logger import OutageLogger
from app.dispatcher.pauses import Pause
from app.dispatcher.starts import Overdue, judge_start
from app.dispatcher.tables import Changes, RunTable
from app.domain.attempt import Attempt, keep_last, sort_attempts
from app.domain.run import Run
from app.kube.attempts import read_attempt
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.manifests import build_giving_up
from app.kube.parsing import read_run
from app.kube.transport import CALL_SECONDS
from app.telemetry import metrics

log = logging.getLogger(__name__)

_LOOKS_PER_CYCLE = 2
"""How many runs are looked at before admissions have their turn again."""

_PAUSE_SECONDS = 1.0
"""How long nothing is looked at after a call had no answer to rely on, and a run not after it has changed under our
hands."""

_NO_PAUSE = Pause(first_seconds=_PAUSE_SECONDS, last_seconds=30.0)
"""The pauses of both kinds grow while the calls go on failing: each may hang, and admissions wait for it."""

_REFUSAL_SECONDS = 300.0
"""How long a run is left alone that the API server would not let us look at, or give up."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found when a run was looked at.

    Attributes:
        resource_version: of the run then; once it has changed, it is looked at anew.
        due: when to look again, seconds since the epoch by the API server's clock.
        pause: how long that is, where the look, or what followed, had no answer to rely on.
    """

    resource_version: int
    due: float
    pause: Pause = _NO_PAUSE


class Patience:
    """Gives up, for a leader, what doesn't start.

    Args:
        client: whose runs.
        changes: shared with the tables.
        clock: seconds that never go back.
    """

    def __init__(self, client: NamespacedClient, changes: Changes, clock: Callable[[], float]) -> None:
        self._client = client
        self._changes = changes
        self._clock = clock
        self._looks: dict[str, _Look] = {}
        self._pause = _NO_PAUSE
        self._outage = OutageLogger(log, "runs that don't start can't be looked at", clock)

    def cycle(self, runs: RunTable, may_write: Callable[[], bool]) -> float:
        """Look at the runs whose time is over, and give up those that have not started.

        Args:
            runs: as far as they are known.
            may_write: asked before every call whether the lease is certainly held for as long as a write can take.

        Returns:
            Seconds until the next run's time is over; 0 when there is more to do now.
        """
        with self._changes.lock:
            starting = {run.uid: run for run in runs.starting()}
        known = {uid: look for uid, look in self._looks.items() if _is_of(look, starting.get(uid))}
        self._looks = known
        if not starting:
            return float("inf")
        if (left_seconds := self._pause.until - self._clock()) > 0:
            return left_seconds
        now = self._client.transport.clock.now()
        due = sorted((known[uid].due if uid in known else _first_due(run), uid) for uid, run in starting.items())
        looked_at = [uid for moment, uid in due if moment <= now][:_LOOKS_PER_CYCLE]
        for uid in looked_at:
            run = starting[uid]
            if not may_write():
                return _PAUSE_SECONDS
            try:
                self._looks[uid] = _Look(run.resource_version, self._look_at(runs, run, may_write))
                self._outage.recovered()
                self._pause = _NO_PAUSE
            except ClusterError as error:
                self._outage.failed(error)
                if not error.retryable:
                    self._looks[uid] = _Look(run.resource_version, now + _REFUSAL_SECONDS)
                    continue
                if error.outcome_unknown:  # it may be this run's own affair: others go first
                    pause = (known[uid].pause if uid in known else _NO_PAUSE).longer(now, error)
                    self._looks[uid] = _Look(run.resource_version, now + pause.seconds, pause)
                self._pause = self._pause.longer(self._clock(), error)
                return self._pause.seconds
        return 0.0 if looked_at else due[0][0] - now

    def _look_at(self, runs: RunTable, run: Run, may_write: Callable[[], bool]) -> float:
        """Look at a run, and give it up where it has not started; when to look again.

        Raises:
            ClusterError: the API server can't be asked. A patch without an answer is sent again where it is still
                called for: nothing else ever takes back what it sets.
        """
        assert run.pending_start is not None
        found = judge_start(run.pending_start, self._attempts_at(run))
        now = self._client.transport.clock.now()
        if found is None:
            return float("inf")
        if (due := found.due / 1_000_000) > now:
            return due
        return now + (self._give_up(runs, run, found) if may_write() else _PAUSE_SECONDS)

    def _give_up(self, runs: RunTable, run: Run, overdue: Overdue) -> float:
        """Write that a run is given up; after how many seconds to look again."""
        try:
            written = self._client.patch_job(run.name, build_giving_up(run.resource_version, overdue.why))
        except ConflictError:
            return _PAUSE_SECONDS  # it has changed; the watch will show how
        except NotFoundError:
            return float("inf")
        except ClusterError as error:
            if error.retryable:
                raise
            log.warning("run %s can't be given up: %s", run.name, error)
            return _REFUSAL_SECONDS
        runs.update(read_run(written))
        metrics.GIVEN_UP.labels(run.definition).inc()
        log.warning("gave up %s: %s", run.name, overdue.why)
        return float("inf")

    def _attempts_at(self, run: Run) -> list[Attempt]:
        found: list[Attempt] = []
        # Admissions wait meanwhile: no longer than for any other call.
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
