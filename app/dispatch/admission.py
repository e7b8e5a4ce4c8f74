"""Carrying out a plan: one write per admission, and what follows when it fails or its answer is lost."""

import logging
import secrets
from collections.abc import Callable, Mapping

from app.cluster.client import CALL_SECONDS, Json
from app.cluster.errors import ClusterError, ConflictError, NotFoundError, ThrottledError
from app.cluster.manifests import build_admission, build_fence
from app.cluster.namespace import Namespace
from app.cluster.records import Run, is_run, read_run
from app.dispatch.leader import Leader
from app.dispatch.plan import Unready, plan
from app.dispatch.retries import Retries
from app.dispatch.tables import Changes, RunTable

log = logging.getLogger(__name__)

_WRITES_PER_PLAN = 16
"""How many writes one plan is good for, before the world is looked at again."""

_OUTAGE_PAUSE_SECONDS = 0.5
"""How long nothing is written after the API server was away or busy; what was tried waits longer, see `Retries`."""


class Admissions:
    """Admits runs for a leader.

    Args:
        namespace: whose runs.
        leader: asked before every write whether the lease is certainly held for as long as the write can take.
        changes: shared with the tables.
        clock: seconds that never go back.
    """

    def __init__(self, namespace: Namespace, leader: Leader, changes: Changes, clock: Callable[[], float]) -> None:
        self._namespace = namespace
        self._leader = leader
        self._changes = changes
        self._clock = clock
        # Queued runs whose admission was sent and not answered. While such a run stays in the version that was sent,
        # the admission may still arrive; once it has another version it can't, for it carries the old one.
        self._in_doubt = Retries(clock)
        self._postponed = Retries(clock)
        self._paused_until = 0.0

    @property
    def in_doubt(self) -> bool:
        """Whether an admission may still arrive that nobody has seen arrive."""
        return bool(self._in_doubt)

    def cycle(self, runs: RunTable, unready: Unready, slots: Mapping[str, int]) -> float:
        """Admit what can be admitted now.

        Returns:
            Seconds until there may be more to do without any change in the cluster: 0 when a plan was cut short.
        """
        if (pause_seconds := self._paused_until - self._clock()) > 0:
            return pause_seconds
        # 1. What is known, as one picture.
        with self._changes.lock:
            self._in_doubt.forget_changed(runs)
            self._postponed.forget_changed(runs)
            doubtful = {uid: run for uid in self._in_doubt.uids() if (run := runs.get(uid)) is not None}
            chosen = plan(
                runs.lines(),
                slots,
                unready,
                in_doubt={uid: run.definition for uid, run in doubtful.items()},
                postponed=self._postponed.uids() - self._postponed.due(),
            )
            # 2. Settle doubts first, for they hold slots: by the same admission, or where the run could not start any
            #    more, by a change that makes the admission under way conflict.
            writes = [
                (run, build_fence(run.resource_version, mark=secrets.token_hex(4)))
                if unready(run.depends_on)
                else (run, build_admission(run.resource_version))
                for run in (doubtful[uid] for uid in self._in_doubt.due())
            ]
        # 3. Admit, for as long as the lease is certain and the API server answers.
        writes += [(run, build_admission(run.resource_version)) for run in chosen]
        for run, patch in writes[:_WRITES_PER_PLAN]:
            if not self._leader.held_for(CALL_SECONDS):
                return _OUTAGE_PAUSE_SECONDS
            if not self._write(runs, run, patch):
                return _OUTAGE_PAUSE_SECONDS
        if len(writes) > _WRITES_PER_PLAN:
            return 0.0
        return min(self._in_doubt.seconds_left(), self._postponed.seconds_left())

    def _write(self, runs: RunTable, run: Run, patch: Json) -> bool:
        """Write one patch and take in what came of it; whether it makes sense to go on with others."""
        try:
            # The answer counts at once, before the watch shows it.
            runs.update(read_run(self._namespace.patch_job(run.name, patch)))
        except ConflictError:
            return self._read_again(runs, run)
        except NotFoundError:
            runs.remove(run)
        except ThrottledError:
            return self._hold_back(self._postponed, run, "the API server is busy")
        except ClusterError as error:
            if error.may_have_happened:
                return self._hold_back(self._in_doubt, run, f"no answer, so it may be admitted: {error}")
            self._postponed.add(run)
            log.warning("run %s can't be admitted: %s", run.name, error)
        return True

    def _read_again(self, runs: RunTable, run: Run) -> bool:
        """Somebody has changed the run: look at it now rather than when the watch gets there."""
        try:
            job = self._namespace.get_job(run.name)
        except NotFoundError:
            runs.remove(run)
            return True
        except ClusterError as error:
            return self._hold_back(self._postponed, run, str(error))
        if job["metadata"]["uid"] != run.uid or not is_run(job):
            runs.remove(run)
            return True
        runs.update(read_run(job))
        if runs.get(run.uid) is run:  # a conflict over nothing that we can see
            self._postponed.add(run)
        return True

    def _hold_back(self, retries: Retries, run: Run, why: str) -> bool:
        retries.add(run)
        self._paused_until = self._clock() + _OUTAGE_PAUSE_SECONDS
        log.warning("run %s: %s; trying again later", run.name, why)
        return False
