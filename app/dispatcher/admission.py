"""Carrying out a plan: one write per admission, and what follows when it fails or its answer is lost."""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping

from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.dispatcher.plan import plan, suspects
from app.dispatcher.retries import Retries
from app.dispatcher.setbacks import Setbacks
from app.dispatcher.stopwatch import Starts
from app.dispatcher.tables import Changes, RunTable
from app.domain.readiness import Unready
from app.domain.run import Phase, Run, queue_key
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ConflictError, NotFoundError
from app.kube.manifests import build_admission, build_fence
from app.kube.parsing import is_run, read_run
from app.kube.reflector import SILENCE_SECONDS
from app.telemetry import metrics, spans
from app.telemetry.trace_context import read_trace_context

log = logging.getLogger(__name__)

_PLAN_SECONDS = 0.1
"""For how long one plan is good; then the world is looked at again, for what it rests on may be over."""

_OUTAGE_PAUSE_SECONDS = 0.5
"""How long nothing is written while the API server is away or busy."""

_LAST_DOUBT_SECONDS = 30.0
_LAST_REFUSAL_SECONDS = 300.0
"""The longest pauses before a doubt is to be settled, and before a refused run is tried, once more."""

_UNEXPLAINED_SECONDS = 2.0
"""The longest pause after what nobody can explain, such as a conflict over a run that hasn't changed: it may be over at
any moment."""

_REQUEST_SECONDS = 60.0
"""How long the API server goes on with a request that it has let in (`--request-timeout`, as it is by default)."""

_UNSEEN_SECONDS = SILENCE_SECONDS + 30.0
"""For how long a dispatcher that led may have been without news of what was stored: as long as a watch may be silent
before it counts as dead, and then until the lease had run out."""


_Writes = list[tuple[Run, bool]]
"""Runs, and of each whether it is to be fenced rather than admitted."""


class Admissions:
    """Admits runs for a leader.

    Args:
        client: whose runs.
        changes: shared with the tables.
        clock: seconds that never go back.
        starts: told of every admission.
    """

    def __init__(self, client: NamespacedClient, changes: Changes, clock: Callable[[], float], starts: Starts) -> None:
        self._client = client
        self._changes = changes
        self._clock = clock
        self._starts = starts
        # Queued runs whose admission was sent and not answered. While such a run stays in the version that was sent,
        # the admission may still arrive; once it has another version it can't, for it carries the old one.
        self._in_doubt = Retries(clock, _LAST_DOUBT_SECONDS)
        self._refused = Retries(clock, _LAST_REFUSAL_SECONDS)
        self._sent_at: dict[str, float] = {}  # when the last patch was sent, at the latest, that a run is in doubt for
        self._only_fenced: set[str] = set()  # runs in doubt whose admission has been refused since
        self._setbacks = Setbacks(clock)
        self._slow_is_next = False  # whether writes that may well hang have been put off for others
        self._paused_until = 0.0
        self._outage = OutageLogger(log, "nothing can be admitted, the API server gives no answer to rely on", clock)

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
        known_until = int((self._client.transport.clock.now() - _UNSEEN_SECONDS) * 1_000_000)
        with self._changes.lock:
            for run in suspects(runs.lines(), slots, known_until):
                self._in_doubt.add_due(run)
                self._sent_at[run.uid] = self._clock()

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
        prompt, slow = self._choose(runs, unready, slots)
        writes = [*slow[:1], *prompt, *slow[1:]] if self._slow_is_next else [*prompt, *slow]
        self._slow_is_next, put_off = bool(slow), {run.uid for run, _ in slow}
        written, enough_at = False, self._clock() + _PLAN_SECONDS
        for run, fences in writes:
            if self._setbacks.is_resting(run.definition):
                continue
            if written and self._clock() >= enough_at:
                return 0.0
            written = True
            self._slow_is_next &= run.uid not in put_off
            if not may_write() or not self._write(runs, run, fences=fences):
                return _OUTAGE_PAUSE_SECONDS
        return max(0.0, min(thing.seconds_left() for thing in (self._in_doubt, self._refused, self._setbacks)))

    def _choose(self, runs: RunTable, unready: Unready, slots: Mapping[str, int]) -> tuple[_Writes, _Writes]:
        """What to write now, from one picture of the world.

        Returns:
            What is likely to be answered, and what may well hang: the last such write was not answered.
        """
        server_now = self._client.transport.clock.now()
        with self._changes.lock:
            self._in_doubt.forget_changed(runs)
            self._refused.forget_changed(runs)
            self._only_fenced &= self._in_doubt.uids()
            self._sent_at = {uid: at for uid, at in self._sent_at.items() if uid in self._in_doubt}
            doubtful = {uid: run for uid in self._in_doubt.uids() if (run := runs.get(uid)) is not None}
            lines, doubts = runs.lines(), Counter(run.definition for run in doubtful.values())
            due = {uid: int((server_now - seconds) * 1_000_000) for uid, seconds in self._refused.due().items()}
            chosen = plan(
                lines,
                {definition: limit for definition, limit in slots.items() if not self._setbacks.is_resting(definition)},
                unready,
                in_doubt={uid: run.definition for uid, run in doubtful.items()},
                refused=self._refused.uids(),
                again=[(moment, run) for uid, moment in due.items() if (run := runs.get(uid)) is not None],
                untried_first=self._setbacks.was_refused,
            )
            # Doubts hold slots. They are settled by the same admission, of which only one can arrive, or where the run
            # can't start now by a change that makes the admission under way conflict.
            settled = {
                run: not self._may_start(run, lines[run.definition].admitted + doubts[run.definition], unready, slots)
                for run in sorted((doubtful[uid] for uid in self._in_doubt.due()), key=queue_key)
                if not self._setbacks.is_resting(run.definition)
            }
        tried = [run for run in settled if self._in_doubt.was_tried(run.uid)]
        untried = [run for run in settled if not self._in_doubt.was_tried(run.uid)]
        prompt: _Writes = []
        slow: _Writes = []
        # What no write of this dispatcher has failed for comes first: the others of a definition may be well.
        for run in (*untried, *chosen, *tried):
            hangs = self._setbacks.is_failing(run.definition) or self._in_doubt.was_tried(run.uid)
            (slow if hangs else prompt).append((run, settled.get(run, False)))
        # Who has waited for longest goes first: after an outage all have failed, and some may go on failing.
        slow.sort(key=lambda write: self._setbacks.failed_at(write[0].definition))
        return prompt, slow

    def _may_start(self, run: Run, taken: int, unready: Unready, slots: Mapping[str, int]) -> bool:
        fits = taken <= slots.get(run.definition, 0)
        return fits and run.uid not in self._only_fenced and not unready(run.depends_on)

    def _write(self, runs: RunTable, run: Run, *, fences: bool) -> bool:
        """Write one patch and take in what came of it; whether it makes sense to go on with others."""
        version = run.resource_version
        patch = build_fence(version, mark=secrets.token_hex(4)) if fences else build_admission(version)
        began = time.monotonic()
        try:
            # The answer counts at once, before the watch shows it.
            answer = self._client.patch_job(run.name, patch)
            written = read_run(answer)
            runs.update(written)
            self._answered(run)
            if written.resource_version != version:
                self._in_doubt.forget(run)
            if written.phase is Phase.ADMITTED:
                log.info("admitted %s", run.name)
                _count("admitted")
                self._starts.admitted(written)
                _tell(run, answer, write_seconds=time.monotonic() - began)
            elif fences and written.resource_version != version:
                _count("fenced")
            else:  # a webhook may change what is written, or take it back
                _count("refused")
                self._refuse(written, "the cluster has taken it back", fences=fences)
        except ConflictError:
            _count("conflict")
            self._answered(run)
            return self._read_again(runs, run)
        except NotFoundError:
            _count("gone")
            self._answered(run)
            self._try_later(run)  # until the watch shows that it is gone
        except ClusterError as error:
            _count("unanswered" if error.outcome_unknown else "refused")
            if error.outcome_unknown:
                self._sent_at[run.uid] = self._clock()
                longest_seconds = self._setbacks.longest_pause_seconds(self._in_doubt.tried_at(run.uid))
                self._in_doubt.add(run, at_most_seconds=longest_seconds)
            if error.retryable:
                return self._fail(run, error)
            self._refuse(run, error.message, fences=fences)
        return True

    def _refuse(self, run: Run, why: str, *, fences: bool) -> None:
        """Take in that a patch was refused, which says that it is not, and has not been, carried out.

        Where the run is in doubt, an earlier one may still arrive, and a fence may be allowed. Where that is refused as
        well, whoever refuses both refuses the late admission, too, unless it had been let in before: the API server
        gives up every request after a while.
        """
        log.warning("run %s can't be admitted: %s", run.name, why)
        self._setbacks.refused(run.definition)
        if run.uid not in self._in_doubt:
            self._refused.add(run)
        elif not fences:
            self._only_fenced.add(run.uid)
            self._in_doubt.add_due(run)
        elif run.uid in self._only_fenced and self._clock() - self._sent_at.get(run.uid, 0.0) > _REQUEST_SECONDS:
            self._in_doubt.forget(run)
            self._refused.add(run)
        else:
            self._in_doubt.add(run)

    def _answered(self, run: Run) -> None:
        self._outage.recovered()
        self._setbacks.answered(run.definition)

    def _read_again(self, runs: RunTable, run: Run) -> bool:
        """Somebody has changed the run: look at it now rather than when the watch gets there."""
        try:
            job = self._client.get_job(run.name)
        except NotFoundError:
            self._try_later(run)
            return True
        except ClusterError as error:
            if error.retryable:
                return self._fail(run, error)
            self._try_later(run)
            return True
        if job["metadata"]["uid"] == run.uid and is_run(job):
            runs.update(read_run(job))
        if runs.get(run.uid) is run:  # nothing that we can see, or for the watch to show
            self._try_later(run)
        return True

    def _try_later(self, run: Run) -> None:
        retries = self._in_doubt if run.uid in self._in_doubt else self._refused
        retries.add(run, at_most_seconds=_UNEXPLAINED_SECONDS)

    def _fail(self, run: Run, error: ClusterError) -> bool:
        """Take in that a call had no answer to rely on; whether it makes sense to go on with other definitions."""
        # Where nothing was sent, or the API server is busy, it is most likely so for all.
        outage = self._setbacks.failed(run.definition, error) or not error.outcome_unknown
        if outage:
            self._outage.failed(error)
            self._paused_until = self._clock() + max(_OUTAGE_PAUSE_SECONDS, error.retry_after_seconds or 0)
        return not outage


def _count(outcome: str) -> None:
    metrics.ADMISSION_WRITES.labels(outcome).inc()


def _tell(run: Run, answer: Json, *, write_seconds: float) -> None:
    """Say in metrics and traces that a run was admitted."""
    seconds = max(0.0, time.time() - run.queued_at / 1_000_000)  # by two clocks, where another replica queued it
    metrics.QUEUED_SECONDS.labels(run.definition).observe(seconds)
    trace = read_trace_context((answer["metadata"].get("annotations") or {}).get(labels.TRACEPARENT_ANNOTATION), None)
    attributes: dict[str, str | int] = {
        "slimfaas.definition": run.definition,
        "slimfaas.run": run.name,
        "slimfaas.queued_ms": int(seconds * 1000),
    }
    spans.record_span("admit", seconds=write_seconds, parent=trace, attributes=attributes)
