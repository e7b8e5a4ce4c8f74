"""Carrying out a plan: one write per admission, and what follows when it fails or its answer is lost."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping

from app.cluster import keys
from app.cluster.client import Json
from app.cluster.errors import ClusterError, ConflictError, NotFoundError
from app.cluster.manifests import build_admission, build_fence
from app.cluster.namespace import Namespace
from app.cluster.records import Phase, Run, is_run, place, read_run
from app.cluster.troubles import Trouble
from app.dispatch.plan import Unready, plan, suspects
from app.dispatch.retries import Retries
from app.dispatch.stopwatch import Starts
from app.dispatch.tables import Changes, RunTable
from app.observability import metrics, spans
from app.observability.trace_context import read_trace_context

log = logging.getLogger(__name__)

_WRITES_PER_PLAN = 16
"""How many writes one plan is good for, before the world is looked at again."""

_OUTAGE_PAUSE_SECONDS = 0.5
"""How long nothing is written after the API server was away or busy."""

_REFUSAL_PAUSE_SECONDS = 0.25
"""How long no other run of a definition is tried after one was refused: should all be, they are no burst of writes."""

_LAST_DOUBT_SECONDS = 2.0
_LAST_REFUSAL_SECONDS = 300.0
"""The longest pauses before a doubt is to be settled, and before a refused run is tried, once more. What nobody can
explain, such as a conflict over a run that hasn't changed, counts as a doubt: it may be over at any moment."""


class Admissions:
    """Admits runs for a leader.

    Args:
        namespace: whose runs.
        changes: shared with the tables.
        clock: seconds that never go back.
        starts: told of every admission.
    """

    def __init__(self, namespace: Namespace, changes: Changes, clock: Callable[[], float], starts: Starts) -> None:
        self._namespace = namespace
        self._changes = changes
        self._clock = clock
        self._starts = starts
        # Queued runs whose admission was sent and not answered. While such a run stays in the version that was sent,
        # the admission may still arrive; once it has another version it can't, for it carries the old one.
        self._in_doubt = Retries(clock, _LAST_DOUBT_SECONDS)
        self._refused = Retries(clock, _LAST_REFUSAL_SECONDS)
        self._held_back: dict[str, float] = {}  # definitions, and until when
        self._paused_until = 0.0
        self._trouble = Trouble(log, "nothing can be admitted, the API server gives no answer to rely on", clock)

    @property
    def in_doubt(self) -> bool:
        """Whether an admission may still arrive that nobody has seen arrive."""
        return bool(self._in_doubt)

    @property
    def doubts(self) -> int:
        """How many runs that is about."""
        return len(self._in_doubt.uids())

    def suspect(self, runs: RunTable, slots: Mapping[str, int]) -> None:
        """Doubt what a dispatcher that fell silent may have been admitting at that moment."""
        with self._changes.lock:
            for run in suspects(runs.lines(), slots):
                self._in_doubt.add_due(run)

    def cycle(self, runs: RunTable, unready: Unready, slots: Mapping[str, int], may_write: Callable[[], bool]) -> float:
        """Admit what can be admitted now.

        Args:
            runs: as far as they are known.
            unready: tells what runs wait for; called under the lock of `changes`.
            slots: by definition.
            may_write: asked before every write whether the lease is certainly held for as long as the write can take.

        Returns:
            Seconds until there may be more to do without any change in the cluster: 0 when a plan was cut short.
        """
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now
        self._held_back = {definition: until for definition, until in self._held_back.items() if until > now}
        # 1. What is known, as one picture.
        with self._changes.lock:
            self._in_doubt.forget_changed(runs)
            self._refused.forget_changed(runs)
            doubtful = {uid: run for uid in self._in_doubt.uids() if (run := runs.get(uid)) is not None}
            lines, doubts = runs.lines(), Counter(run.definition for run in doubtful.values())
            chosen = plan(
                lines,
                {definition: limit for definition, limit in slots.items() if definition not in self._held_back},
                unready,
                in_doubt={uid: run.definition for uid, run in doubtful.items()},
                postponed=self._refused.uids() - self._refused.due(),
            )
            # 2. Settle doubts first, for they hold slots: by the same admission, of which only one can arrive, or where
            #    the run can't start now by a change that makes the admission under way conflict.
            writes = [
                (run, build_admission(run.resource_version))
                if lines[run.definition].admitted + doubts[run.definition] <= slots.get(run.definition, 0)
                and not unready(run.depends_on)
                else (run, build_fence(run.resource_version, mark=secrets.token_hex(4)))
                for run in sorted((doubtful[uid] for uid in self._in_doubt.due()), key=place)
            ]
        # 3. Admit, for as long as the lease is certain and the API server answers.
        writes += [(run, build_admission(run.resource_version)) for run in chosen]
        for run, patch in writes[:_WRITES_PER_PLAN]:
            if run.definition in self._held_back and run.uid not in self._in_doubt:
                continue
            if not may_write() or not self._write(runs, run, patch):
                return _OUTAGE_PAUSE_SECONDS
        if len(writes) > _WRITES_PER_PLAN:
            return 0.0
        held_back_seconds = min(self._held_back.values(), default=float("inf")) - self._clock()
        return max(0.0, min(self._in_doubt.seconds_left(), self._refused.seconds_left(), held_back_seconds))

    def _write(self, runs: RunTable, run: Run, patch: Json) -> bool:
        """Write one patch and take in what came of it; whether it makes sense to go on with others."""
        began = time.monotonic()
        try:
            # The answer counts at once, before the watch shows it.
            answer = self._namespace.patch_job(run.name, patch)
            written = read_run(answer)
            runs.update(written)
            self._trouble.ended()
            if written.phase is Phase.ADMITTED:
                log.info("admitted %s", run.name)
                _count("admitted")
                self._starts.admitted(written)
                _tell(run, answer, write_seconds=time.monotonic() - began)
            else:
                _count("fenced")
        except ConflictError:
            _count("conflict")
            return self._read_again(runs, run)
        except NotFoundError:
            _count("gone")
            self._try_later(run)  # until the watch shows that it is gone
        except ClusterError as error:
            _count("unanswered" if error.may_have_happened else "refused")
            if error.may_have_happened:
                self._in_doubt.add(run)
            if error.may_pass:
                return self._pause(run, error)
            self._try_later(run, _LAST_REFUSAL_SECONDS)
            self._held_back[run.definition] = self._clock() + _REFUSAL_PAUSE_SECONDS
            log.warning("run %s can't be admitted: %s", run.name, error)
        return True

    def _read_again(self, runs: RunTable, run: Run) -> bool:
        """Somebody has changed the run: look at it now rather than when the watch gets there."""
        try:
            job = self._namespace.get_job(run.name)
        except NotFoundError:
            self._try_later(run)
            return True
        except ClusterError as error:
            return self._pause(run, error)
        if job["metadata"]["uid"] == run.uid and is_run(job):
            runs.update(read_run(job))
        if runs.get(run.uid) is run:  # nothing that we can see, or for the watch to show
            self._try_later(run)
        return True

    def _try_later(self, run: Run, at_most_seconds: float = _LAST_DOUBT_SECONDS) -> None:
        retries = self._in_doubt if run.uid in self._in_doubt else self._refused
        retries.add(run, at_most_seconds=at_most_seconds)

    def _pause(self, run: Run, error: ClusterError) -> bool:
        self._paused_until = self._clock() + max(_OUTAGE_PAUSE_SECONDS, error.retry_after_seconds or 0)
        self._trouble.happened(error)
        return False


def _count(outcome: str) -> None:
    metrics.ADMISSION_WRITES.labels(outcome).inc()


def _tell(run: Run, answer: Json, *, write_seconds: float) -> None:
    """Say in metrics and traces that a run was admitted."""
    seconds = max(0.0, time.time() - run.queued_at / 1_000_000)  # by two clocks, where another replica queued it
    metrics.QUEUED_SECONDS.labels(run.definition).observe(seconds)
    trace = read_trace_context((answer["metadata"].get("annotations") or {}).get(keys.TRACEPARENT_ANNOTATION), None)
    attributes: dict[str, str | int] = {
        "slimfaas.definition": run.definition,
        "slimfaas.run": run.name,
        "slimfaas.queued_ms": int(seconds * 1000),
    }
    spans.record_span("admit", seconds=write_seconds, parent=trace, attributes=attributes)
