"""Choose the next write and record results: applies the rules of `leadership` and `next_admission`, with backoff.

The caller of every method holds the lock of the signal. Nothing here makes a call.
"""

import logging
from collections.abc import Callable, Mapping

from app.common.backoff_table import BackoffTable
from app.common.outage_logger import OutageLogger
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.definition_backoff import DefinitionBackoff
from app.dispatcher.ignored_gates import IgnoredGates
from app.dispatcher.intent import Intent, Pin
from app.dispatcher.leadership import Leadership
from app.dispatcher.lease import Claim
from app.dispatcher.next_admission import choose_batch, choose_write, give_up_slow_writes, is_urgent
from app.dispatcher.parked_runs import ParkedRuns
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.run_store import RunStore
from app.dispatcher.start_latency import StartLatency
from app.dispatcher.term import Term
from app.dispatcher.write import Purpose, Write
from app.domain.pending_reason import PendingReason, explain_undone
from app.domain.run import Phase, Run
from app.kube.errors import ClusterError, ConflictError, DeniedError, ForbiddenError, NotFoundError, QuotaError
from app.telemetry import metrics

log = logging.getLogger(__name__)

SLOW_SECONDS = 0.2
"""How long a write may last before it counts as slow."""

_FIRST_WRITE_SECONDS = 0.5
"""How long a new run is parked for the Job controller's first write, which would make its admission conflict. That
write unparks it. It comes after 10 to 200 ms on a busy machine. A run that the controller does not see could not start
anyway."""

_NEW_SECONDS = 3.0
"""How long a run counts as new if the Job controller has not written to it. Creation times are in whole seconds."""

_CONFLICT_SECONDS = 1.0
"""How long the watch may take to show the reason for a conflict. After that the run is read."""

_LAST_SETTLE_SECONDS = 30.0
_LAST_REFUSAL_SECONDS = 300.0
_FIRST_OUTAGE_SECONDS = 0.5
_LAST_OUTAGE_SECONDS = 5.0

_ALL = "everything"

Tell = Callable[[Run, PendingReason, str], None]
"""Tells on a run why it waits."""


class Admissions:
    """Chooses the writes of one dispatcher. It also exists while the dispatcher does not lead; then it chooses none.

    Args:
        identity: see `Claim`.
        signal: see `RunStore`.
        clock: seconds that never go back.
        server_clock: seconds since the epoch by the API server's clock.
        start_latency: measures every admission.
        ends: notices every end of a run.
        tell: see `Tell`.

    Attributes:
        ignored_gates: notices runs that Kueue starts by itself.
    """

    def __init__(
        self,
        identity: str,
        signal: ChangeSignal,
        clock: Callable[[], float],
        server_clock: Callable[[], float],
        start_latency: StartLatency,
        ends: RunEnds,
        tell: Tell,
    ) -> None:
        self.leadership = Leadership(Claim(identity))
        self._signal = signal
        self._clock = clock
        self._server_clock = server_clock
        self._start_latency = start_latency
        self._ends = ends
        self._tell = tell
        self.ignored_gates = IgnoredGates(clock)
        self._outage = OutageLogger(
            log,
            "no run can be admitted: the API server is unreachable, throttles the service, or denies it a right",
            clock,
        )
        self.reset_view()

    def reset_view(self) -> RunStore:
        """Forget the last view of the cluster; return the empty store that the watches of the next term fill."""
        self.runs = runs = self._make_store()
        self.is_current = False
        self._sent_at: dict[Write, float] = {}
        self._parked = ParkedRuns(runs, self._server_clock)
        self._definition_backoff = DefinitionBackoff()
        self._settling = BackoffTable[Pin](0.25, _LAST_SETTLE_SECONDS)
        self._refusals = BackoffTable[str](0.25, _LAST_REFUSAL_SECONDS)
        self._suspensions = BackoffTable[str](1.0, _LAST_REFUSAL_SECONDS)
        self._outage_backoff = BackoffTable[str](_FIRST_OUTAGE_SECONDS, _LAST_OUTAGE_SECONDS)
        return runs

    def _make_store(self) -> RunStore:
        """Make a store. Once it is replaced, its changes are ignored, because an old watch may end late."""

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
        """The current term; `None`: this dispatcher does not lead."""
        return self.leadership.term

    def _set(self, term: Term) -> None:
        self.leadership = self.leadership._replace(term=term)

    def end_term(self) -> None:
        """End the term at once and forget the view: a list that ends late must not count in the next term."""
        self.leadership = self.leadership.end_term()
        self.reset_view()

    def set_current(self, is_current: bool) -> None:
        """Record whether the view is up to date. No run is admitted from an outdated view."""
        if not is_current:
            self.lose_view()
            return
        self.is_current = True
        if self.term is not None and not self.term.is_listed:
            self._set(self.term.listed(self.runs))

    def lose_view(self) -> None:
        """Record that a watch of the current view broke."""
        self.is_current = False
        self.leadership = self.leadership.unconfirm()

    def in_doubt(self) -> int:
        """How many runs hold a slot because an earlier admission may still arrive."""
        return 0 if self.term is None else len(self.term.in_doubt | self.term.suspected)

    # The next intent.

    def refresh_term(self) -> None:
        """Let time pass, and forget the pins whose runs have changed or are gone: no write for these can land."""
        self._pass_time()
        if self.term is not None and self.is_current:
            self._set(self.term.prune(self.runs))
            self._settling.keep({*self.term.landing(), *self.term.unsent})

    def wants_intent(self, slots: Mapping[str, int]) -> bool:
        """Return whether the Lease should be written now: to confirm the term, or for runs that can be admitted.

        Call `refresh_term` before it.
        """
        if self.term is None or not self.is_current or self._outage_backoff.is_waiting(_ALL, self._clock()):
            return False
        if not self.term.is_confirmed:
            return True
        return is_urgent(self.term, choose_batch(self.term, self.runs, slots, self._is_resting))

    def prepare_renewal(self, slots: Mapping[str, int]) -> Intent:
        """Begin a write of the Lease. If the view is current, it adds the runs to be admitted next.

        Otherwise all runs that are not sent yet leave the intent.
        """
        self.leadership, intent = self.leadership.prepare_renewal(
            self.runs, slots if self.is_current else {}, self._is_resting
        )
        if not self.is_current:  # etcd may be restored after this write, and the watch would not show that
            self.leadership = self.leadership._replace(confirms=False)
        return intent

    def prepare_release(self) -> Intent:
        """Begin to release the Lease."""
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
        if self.term is None or not self.is_current or self._outage_backoff.is_waiting(_ALL, now):
            return None
        write = choose_write(self.term, self.runs, slots, self._is_resting, self._is_due)
        if write is not None:
            self._set(self.term.hand_over(write))
            self._sent_at[write] = now
        return write

    def give_up_slow_writes(self, slots: Mapping[str, int]) -> None:
        """Give up slow writes for which another definition waits: see `is_given_up`."""
        if self.term is not None and self.is_current:
            self._pass_time()
            self._set(give_up_slow_writes(self.term, self.runs, slots, self._is_resting, self._is_due))

    def is_given_up(self, write: Write) -> bool:
        """Return whether a writer should stop waiting for the answer to its write."""
        return self.term is not None and write in self.term.given_up

    def has_writes_in_flight(self) -> bool:
        """Whether a write of this term has no answer yet."""
        return self.term is not None and bool(self.term.in_flight)

    def ended(self, write: Write, answer: Run | ClusterError) -> None:
        """Record the result of a write.

        Args:
            write: the write that was taken.
            answer: the run after the write, or the error.
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
        self._outage_backoff.succeed(_ALL)
        if write.purpose is not Purpose.READ:
            self._definition_backoff.answered(write.definition, self._clock())
        self.runs.update(run)  # at once, before the watch shows it
        if write.purpose is Purpose.ADMIT and run.phase is Phase.QUEUED:
            self._refused(write, "a webhook of the cluster has suspended it again")
        elif write.purpose is Purpose.FENCE and run.resource_version == write.pin.version:
            self._refused(write, "a webhook of the cluster has undone the fence")
        else:
            self._set(self.term.succeeded(write))
            if run.resource_version != write.pin.version:
                self._settling.succeed(write.pin)
            _count({Purpose.ADMIT: "admitted", Purpose.FENCE: "fenced"}.get(write.purpose))
        if write.purpose is Purpose.ADMIT and run.phase is Phase.ADMITTED:
            log.info("admitted %s%s", run.name, " and handed it to Kueue" if write.hands_to_kueue else "")
            self._refusals.succeed(run.uid)
            held = self.runs.get(run.uid)  # the watch may have shown its start, or its end, before this answer
            if held is not None and not held.started and not write.hands_to_kueue:
                self._start_latency.admitted(run)

    def _failed(self, write: Write, error: ClusterError) -> None:
        assert self.term is not None
        now = self._clock()
        if isinstance(error, ConflictError | NotFoundError):
            _count("conflict" if isinstance(error, ConflictError) else "gone")
            self._definition_backoff.answered(write.definition, now)
            self._settling.fail(write.pin, now, at_least=_CONFLICT_SECONDS)
            self._set(self.term.conflicts(write))
        elif error.outcome_unknown:
            _count("unanswered")
            self._definition_backoff.failed(write.definition, now, error)
            self._settling.fail(write.pin, now)
            self._set(self.term.lost_answer(write))
        elif error.retryable or _is_missing_right(error):
            _count("refused")
            self._outage.failed(error)
            self._outage_backoff.fail(_ALL, now, at_least=error.retry_after_seconds or 0)
            self._definition_backoff.failed(write.definition, now, error)
            self._set(self.term.not_sent(write))
        else:
            self._refused(write, error.message)

    def _refused(self, write: Write, why: str) -> None:
        assert self.term is not None
        _count("refused")
        now = self._clock()
        log.warning("run %s can't be admitted: %s", write.name, why)
        self._definition_backoff.refused(write.definition, now)
        self._set(self.term.refused(write))
        if write.pin in self.term.in_doubt:
            if write.purpose is Purpose.ADMIT:
                self._settling.succeed(write.pin)  # a fence settles it, and is tried at once
            else:
                self._settling.fail(write.pin, now, at_least=1.0)
                if (held := self.runs.get(write.pin.uid)) is not None:
                    reason = f"an earlier write may still start it, and the cluster refuses to change it: {why}"
                    self._tell(held, PendingReason.REFUSED, reason)
        elif (run := self.runs.get(write.pin.uid)) is not None and write.purpose is Purpose.ADMIT:
            seconds = self._refusals.fail(run.uid, now)
            self._parked.park(run.uid, now + seconds, version=run.resource_version, to_the_end=True)
            self._tell(run, PendingReason.REFUSED, f"the cluster refuses to start it: {why}")
        else:
            self._settling.fail(write.pin, now, at_least=1.0)

    # Time, and changes that others make.

    def seconds_until_due(self) -> float:
        """How long until there may be more to do without any change in the cluster; infinite: never."""
        now = self._clock()
        slow = [sent_at + SLOW_SECONDS - now for sent_at in self._sent_at.values() if sent_at + SLOW_SECONDS > now]
        timers = (self._parked, self._definition_backoff, self._settling, self._outage_backoff)
        return max(0.0, min([*slow, *(timer.seconds_left(now) for timer in timers)]))

    def _pass_time(self) -> None:
        """Mark writes that have become slow, and unpark the runs whose pause is over."""
        now = self._clock()
        for write, sent_at in self._sent_at.items():
            if self.term is not None and now - sent_at >= SLOW_SECONDS and write not in self.term.slow:
                self._set(self.term.mark_slow(write))
        self._parked.unpark_due(now)

    def _is_resting(self, definition: str) -> bool:
        return self._definition_backoff.is_resting(definition, self._clock())

    def _is_due(self, pin: Pin) -> bool:
        return not self._settling.is_waiting(pin, self._clock())

    def _on_change(self, before: Run | None, after: Run | None) -> None:
        """Record that a run was added, changed or removed."""
        self._ends.change(before, after)
        self.ignored_gates.observe(before, after)
        if after is not None:
            self._start_latency.observe(after)
            if after.started and before is not None and not before.started and not after.local_queue:
                self._definition_backoff.started(after.definition)
        if after is None or after.phase is Phase.FINISHED:
            if before is not None:
                self._forget(before.uid)
            return
        if after.phase is not Phase.QUEUED:
            return
        uid = after.uid
        now = self._clock()
        if after.undone_by_kueue and (before is None or not before.undone_by_kueue):
            # Kueue would stop every run of the definition: so the definition rests, and the run keeps its place.
            self._definition_backoff.stopped(after.definition, now)
            if before is not None:
                self._tell(after, *explain_undone(after))
        elif before is not None and before.phase is Phase.ADMITTED:
            seconds = self._suspensions.fail(uid, now)
            self._parked.park(uid, now + seconds)
            why = f"was suspended again by somebody else; it keeps its place, and is started again in {seconds:.0f} s"
            self._tell(after, PendingReason.SUSPENDED_AGAIN, why)
        elif before is None and not after.acknowledged and self._is_new(after):
            self._parked.park(uid, now + _FIRST_WRITE_SECONDS, version=after.resource_version)
        else:
            self._parked.observe(uid, after.resource_version)

    def _forget(self, uid: str) -> None:
        self._parked.forget(uid)
        self._refusals.succeed(uid)
        self._suspensions.succeed(uid)
        self._start_latency.forget(uid)

    def _is_new(self, run: Run) -> bool:
        return self._server_clock() - run.created_at / 1_000_000 < _NEW_SECONDS


def _is_missing_right(error: ClusterError) -> bool:
    """Return whether the service lacks the right to write, rather than this run being refused."""
    return isinstance(error, ForbiddenError) and not isinstance(error, QuotaError | DeniedError)


def _count(outcome: str | None) -> None:
    if outcome is not None:
        metrics.ADMISSION_WRITES.labels(outcome).inc()
