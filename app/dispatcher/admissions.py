"""Choose the next write and record results: the decisions of `leadership` and `admission_rules`, with backoff.

Every method is called under the lock of the signal. Nothing here makes a call.
"""

import logging
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from app.common.backoff_table import BackoffTable
from app.common.outage_logger import OutageLogger
from app.dispatcher.admission_rules import Purpose, Term, Write
from app.dispatcher.definition_backoff import DefinitionBackoff
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim
from app.dispatcher.run_store import ChangeSignal, RunStore
from app.dispatcher.start_latency import StartLatency
from app.domain.pending_reason import PendingReason
from app.domain.run import Phase, Run
from app.kube.errors import ClusterError, ConflictError, DeniedError, ForbiddenError, NotFoundError, QuotaError
from app.telemetry import metrics

log = logging.getLogger(__name__)

SLOW_SECONDS = 0.2
"""How long a write may last before it counts as slow."""

_FIRST_WRITE_SECONDS = 0.05
"""How long a new run waits for the Job controller's first write, which would make its admission conflict. In most
clusters it comes within a few milliseconds."""

_NEW_SECONDS = 3.0
"""How long a run that the Job controller has not acknowledged counts as new. Creation times are in whole seconds."""

_CONFLICT_SECONDS = 1.0
"""How long the watch has to show the reason for a conflict before the run is read."""

_LAST_SETTLE_SECONDS = 30.0
_LAST_REFUSAL_SECONDS = 300.0
_FIRST_OUTAGE_SECONDS = 0.5
_LAST_OUTAGE_SECONDS = 5.0

_ALL = "everything"

Tell = Callable[[Run, PendingReason, str], None]
"""Tells on a run why it waits."""


class _Parked(NamedTuple):
    """A run that is left out of what can be chosen.

    Attributes:
        until: when it is chosen again.
        version: the run is chosen again earlier if its resourceVersion is no longer this one; `None`: it is not.
        to_the_end: whether it then goes to the end of the queue.
    """

    until: float
    version: int | None
    to_the_end: bool


class Admissions:
    """Decides for one dispatcher, whether it leads or not.

    Args:
        identity: see `Claim`.
        signal: see `RunStore`.
        clock: seconds that never go back.
        server_clock: seconds since the epoch by the API server's clock.
        start_latency: is told of every admission.
        tell: see `Tell`.
    """

    def __init__(
        self,
        identity: str,
        signal: ChangeSignal,
        clock: Callable[[], float],
        server_clock: Callable[[], float],
        start_latency: StartLatency,
        tell: Tell,
    ) -> None:
        self.leadership = Leadership(Claim(identity))
        self._signal = signal
        self._clock = clock
        self._server_clock = server_clock
        self._start_latency = start_latency
        self._tell = tell
        self._outage = OutageLogger(log, "nothing can be admitted: the API server gives no answer to rely on", clock)
        self.open_view()

    def open_view(self) -> RunStore:
        """Forget the last view of the cluster; return the store that the view of the new term fills."""
        self.runs = runs = self._make_store()
        self.is_current = False
        self._sent_at: dict[Write, float] = {}
        self._parked: dict[str, _Parked] = {}
        self._timers: list[tuple[float, str]] = []
        self._definitions = DefinitionBackoff()
        self._settling = BackoffTable[Pin](0.25, _LAST_SETTLE_SECONDS)
        self._refusals = BackoffTable[str](0.25, _LAST_REFUSAL_SECONDS)
        self._suspensions = BackoffTable[str](1.0, _LAST_REFUSAL_SECONDS)
        self._outages = BackoffTable[str](_FIRST_OUTAGE_SECONDS, _LAST_OUTAGE_SECONDS)
        return runs

    def _make_store(self) -> RunStore:
        """Make a store whose changes count only as long as it is the present view: an old watch may end late."""

        def on_change(before: Run | None, after: Run | None) -> None:
            if self.runs is store:
                self._on_change(before, after)

        def on_rewind() -> None:
            if self.runs is store:
                self.end_term()

        store = RunStore(self._signal, on_change, on_rewind)
        return store

    # The term.

    @property
    def term(self) -> Term | None:
        """The present term; `None`: this dispatcher does not lead."""
        return self.leadership.term

    def _set(self, term: Term) -> None:
        self.leadership = self.leadership._replace(term=term)

    def end_term(self) -> None:
        """Stop leading at once."""
        self.leadership = self.leadership.end_term()
        self.is_current = False

    def set_current(self, is_current: bool) -> None:
        """Take in whether the view shows everything as it is. Nothing is admitted from an outdated view."""
        if not is_current:
            self.lose_view()
            return
        self.is_current = True
        if self.term is not None and not self.term.is_listed:
            self._set(self.term.listed(self.runs))

    def lose_view(self) -> None:
        """Take in that a watch of the present view broke."""
        self.is_current = False
        self.leadership = self.leadership.unconfirm()

    def possibly_admitted(self) -> int:
        """How many runs hold a slot because an admission that was sent earlier may still arrive."""
        return 0 if self.term is None else len(self.term.possibly_admitted | self.term.suspected)

    # The next intent.

    def wants_intent(self, slots: Mapping[str, int]) -> bool:
        """Return whether the Lease should be written now: to confirm the term, or for runs that can be admitted."""
        self._pass_time()
        if self.term is None or not self.is_current or self._outages.is_waiting(_ALL, self._clock()):
            return False
        if not self.term.is_confirmed:
            return True
        self._set(self.term.prune(self.runs))
        self._settling.keep({*self.term.landing(), *self.term.intended})
        chosen = self.term.choose(self.runs, slots, self._is_resting)
        return bool(chosen) and self.term.is_urgent(chosen, self.runs)

    def prepare_renewal(self, slots: Mapping[str, int]) -> Intent:
        """Begin a write of the Lease, with the runs to be admitted next where the view is current."""
        self.leadership, intent = self.leadership.prepare_renewal(
            self.runs, slots if self.is_current else {}, self._is_resting
        )
        if not self.is_current:  # such a write may be stored before a restore that the watch will not show
            self.leadership = self.leadership._replace(confirms=False)
        return intent

    def prepare_release(self) -> Intent:
        """Begin to give the Lease back."""
        assert self.term is not None
        self._set(self.term.prune(self.runs) if self.term.is_listed else self.term)
        self.leadership, intent = self.leadership.prepare_release()
        self.is_current = False
        return intent

    # The next write.

    def take_write(self, slots: Mapping[str, int]) -> Write | None:
        """Take the write that a free writer should make; `None`: there is none now."""
        self._pass_time()
        now = self._clock()
        if self.term is None or not self.is_current or self._outages.is_waiting(_ALL, now):
            return None
        write = self.term.next_write(
            self.runs, slots, self._is_resting, lambda pin: not self._settling.is_waiting(pin, now)
        )
        if write is not None:
            self._set(self.term.hand_over(write))
            self._sent_at[write] = now
        return write

    def has_writes_in_flight(self) -> bool:
        """Whether a writer is at work for this term."""
        return self.term is not None and bool(self.term.in_flight)

    def ended(self, write: Write, answer: Run | ClusterError) -> None:
        """Record the result of a write.

        Args:
            write: as it was taken.
            answer: the run as it is now, or why there is no answer.
        """
        self._sent_at.pop(write, None)
        if self.term is None or write.term != self.term.number:
            return
        if isinstance(answer, Run):
            self._succeeded(write, answer)
        else:
            self._failed(write, answer)

    def _succeeded(self, write: Write, run: Run) -> None:
        assert self.term is not None
        self._outage.recovered()
        self._outages.succeed(_ALL)
        if write.purpose is not Purpose.READ:
            self._definitions.answered(write.definition, self._clock())
        self.runs.update(run)  # at once, before the watch shows it
        if write.purpose is Purpose.ADMIT and run.phase is Phase.QUEUED:
            self._refused(write, "the cluster has taken it back")
        elif write.purpose is Purpose.FENCE and run.resource_version == write.pin.version:
            self._refused(write, "the cluster has taken the fence back")
        else:
            self._set(self.term.succeeded(write))
            if run.resource_version != write.pin.version:
                self._settling.succeed(write.pin)
            _count({Purpose.ADMIT: "admitted", Purpose.FENCE: "fenced"}.get(write.purpose))
        if write.purpose is Purpose.ADMIT and run.phase is Phase.ADMITTED:
            log.info("admitted %s", run.name)
            self._refusals.succeed(run.uid)
            self._start_latency.admitted(run)

    def _failed(self, write: Write, error: ClusterError) -> None:
        assert self.term is not None
        now = self._clock()
        if isinstance(error, ConflictError | NotFoundError):
            _count("conflict" if isinstance(error, ConflictError) else "gone")
            self._definitions.answered(write.definition, now)
            self._settling.fail(write.pin, now, at_least=_CONFLICT_SECONDS)
            self._set(self.term.conflicts(write))
        elif error.outcome_unknown:
            _count("unanswered")
            self._definitions.failed(write.definition, now, error)
            self._settling.fail(write.pin, now)
            self._set(self.term.unanswered(write))
        elif error.retryable or _is_missing_right(error):
            _count("refused")
            self._outage.failed(error)
            self._outages.fail(_ALL, now, at_least=error.retry_after_seconds or 0)
            self._definitions.failed(write.definition, now, error)
            self._set(self.term.not_sent(write))
        else:
            self._refused(write, error.message)

    def _refused(self, write: Write, why: str) -> None:
        assert self.term is not None
        _count("refused")
        now = self._clock()
        log.warning("run %s can't be admitted: %s", write.name, why)
        self._definitions.refused(write.definition, now)
        self._set(self.term.refused(write))
        if write.pin in self.term.possibly_admitted:
            if write.purpose is Purpose.ADMIT:
                self._settling.succeed(write.pin)  # a fence settles it, and is tried at once
            else:
                self._settling.fail(write.pin, now, at_least=1.0)
                if (held := self.runs.get(write.pin.uid)) is not None:
                    reason = f"an earlier write may still start it, and the cluster refuses to change it: {why}"
                    self._tell(held, PendingReason.REFUSED, reason)
        elif (run := self.runs.get(write.pin.uid)) is not None and write.purpose is Purpose.ADMIT:
            seconds = self._refusals.fail(run.uid, now)
            self._park(run.uid, _Parked(now + seconds, run.resource_version, to_the_end=True))
            self._tell(run, PendingReason.REFUSED, f"the cluster refuses to start it: {why}")
        else:
            self._settling.fail(write.pin, now, at_least=1.0)

    # Time, and changes that others make.

    def seconds_until_due(self) -> float:
        """How long until there may be more to do without any change in the cluster; infinite: never."""
        now = self._clock()
        slow = [sent_at + SLOW_SECONDS - now for sent_at in self._sent_at.values() if sent_at + SLOW_SECONDS > now]
        timers = [self._timers[0][0] - now] if self._timers else []
        backoffs = (self._definitions, self._settling, self._outages)
        return max(0.0, min([*slow, *timers, *(backoff.seconds_left(now) for backoff in backoffs)]))

    def _pass_time(self) -> None:
        """Mark writes that have become slow, and unpark the runs whose time is over."""
        now = self._clock()
        for write, sent_at in self._sent_at.items():
            if self.term is not None and now - sent_at >= SLOW_SECONDS and write not in self.term.slow:
                self._set(self.term.mark_slow(write))
        while self._timers and self._timers[0][0] <= now:
            _, uid = heappop(self._timers)
            parked = self._parked.get(uid)
            if parked is not None and parked.until <= now:
                self._unpark(uid, parked)

    def _is_resting(self, definition: str) -> bool:
        return self._definitions.is_resting(definition, self._clock())

    def _on_change(self, before: Run | None, after: Run | None) -> None:
        """Take in that a run has changed, appeared or gone."""
        if after is not None:
            self._start_latency.see(after)
        if after is None or after.phase is Phase.FINISHED:
            if before is not None:
                self._forget(before.uid)
            return
        if after.phase is not Phase.QUEUED:
            return
        uid = after.uid
        now, parked = self._clock(), self._parked.get(uid)
        if before is not None and before.phase is Phase.ADMITTED:
            seconds = self._suspensions.fail(uid, now)
            self._park(uid, _Parked(now + seconds, None, to_the_end=False))
            why = f"was suspended again by somebody else; it keeps its place, and is started again in {seconds:.0f} s"
            self._tell(after, PendingReason.SUSPENDED_AGAIN, why)
        elif before is None and not after.acknowledged and self._is_new(after):
            until = now + _FIRST_WRITE_SECONDS
            self._park(uid, _Parked(until, after.resource_version, to_the_end=False))
        elif parked is not None and parked.version not in (None, after.resource_version):
            self._unpark(uid, parked._replace(to_the_end=False))

    def _forget(self, uid: str) -> None:
        self._parked.pop(uid, None)
        self._refusals.succeed(uid)
        self._suspensions.succeed(uid)
        self._start_latency.forget(uid)

    def _is_new(self, run: Run) -> bool:
        return self._server_clock() - run.created_at / 1_000_000 < _NEW_SECONDS

    def _park(self, uid: str, parked: _Parked) -> None:
        self._parked[uid] = parked
        heappush(self._timers, (parked.until, uid))
        self.runs.park(uid)

    def _unpark(self, uid: str, parked: _Parked) -> None:
        del self._parked[uid]
        run = self.runs.get(uid)
        # Behind all runs that are queued by now: the API server's clock is known in whole seconds only.
        end = int((self._server_clock() + 1) * 1_000_000)
        key = (end, run.name) if run is not None and parked.to_the_end else None
        self.runs.unpark(uid, key)


def _is_missing_right(error: ClusterError) -> bool:
    """Return whether the service lacks the right to write, rather than this run being refused."""
    return isinstance(error, ForbiddenError) and not isinstance(error, QuotaError | DeniedError)


def _count(outcome: str | None) -> None:
    if outcome is not None:
        metrics.ADMISSION_WRITES.labels(outcome).inc()
