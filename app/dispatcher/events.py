"""Kubernetes Events on runs that say why they wait.

An Event is written when the reason for waiting has changed and then stayed the same for a moment. So a run that is
admitted soon gets none. Of the runs of a definition that wait for the same reason, only the first get an Event. The
others get theirs when they are among the first. A run that waited for dependencies and then waits only for a slot gets
no second Event.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from app.common.backoff_table import BackoffTable
from app.common.heartbeat import Heartbeat
from app.common.outage_logger import OutageLogger
from app.dispatcher.run_store import RunStore
from app.domain.pending_reason import SCHEDULE_REFUSED_MESSAGE, PendingReason, explain
from app.domain.readiness import Unready
from app.domain.run import Phase, Run
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, ClusterError
from app.kube.manifests import build_event

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often reasons are checked. A reason must be the same in two checks before an Event is written."""

TOLD_PER_REASON = 10
"""How many runs of a definition get Events with the same reason at a time."""

_MOST_WAITING = 500
"""How many Events may wait to be written. Further ones are written later or never."""

_PER_SECOND = 20
"""At most so many Events are written per second."""

_WARNINGS = {
    PendingReason.DEFINITION_MISSING,
    PendingReason.REFUSED,
    PendingReason.SCHEDULE_REFUSED,
    PendingReason.SUSPENDED_AGAIN,
    PendingReason.QUEUE_TIMEOUT,
    PendingReason.NOTIFICATION_GIVEN_UP,
}

PendingEvent = tuple[Run, PendingReason, str]
"""An Event to be written: the run, why it waits, and the same in a sentence."""


class PendingReasons:
    """Finds the runs whose reason for waiting has changed and then stayed the same."""

    def __init__(self) -> None:
        self._noticed: dict[str, PendingReason] = {}
        self._told: dict[str, PendingReason] = {}

    def find_events(
        self, runs: RunStore, slots: Mapping[str, int], unready: Unready
    ) -> tuple[list[PendingEvent], bool]:
        """Check the first waiting runs of each definition. The caller holds the store's lock.

        Args:
            runs: the store of runs.
            slots: the number of slots by definition.
            unready: returns the dependencies that a run waits for.

        Returns:
            The Events to write now, and whether to check again soon even if nothing changes.
        """
        self._told = {uid: reason for uid, reason in self._told.items() if _is_queued(runs.get(uid))}
        noticed: dict[str, PendingReason] = {}
        events: list[PendingEvent] = []
        for definition in list(runs.definitions()):
            for run in _first_waiting(runs, definition):
                reason, message = explain(run, runs.active(definition), slots, unready(run.depends_on))
                if reason in (PendingReason.NOTHING, PendingReason.NO_FREE_SLOT) and runs.is_refused(run):
                    reason, message = PendingReason.SCHEDULE_REFUSED, SCHEDULE_REFUSED_MESSAGE
                if not self._is_new(run.uid, reason):
                    continue
                noticed[run.uid] = reason
                if self._noticed.get(run.uid) is reason:
                    events.append((run, reason, message))
                    self._told[run.uid] = reason
        self._noticed = {uid: reason for uid, reason in noticed.items() if self._told.get(uid) is not reason}
        return events, bool(self._noticed)

    def _is_new(self, uid: str, reason: PendingReason) -> bool:
        if reason is PendingReason.NOTHING:
            return False
        told = self._told.get(uid)
        return told is None or (reason is not told and reason is not PendingReason.NO_FREE_SLOT)


def _is_queued(run: Run | None) -> bool:
    return run is not None and run.phase is Phase.QUEUED


def _first_waiting(runs: RunStore, definition: str) -> Iterator[Run]:
    yield from islice(runs.startable_runs(definition), TOLD_PER_REASON)
    yield from islice(runs.blocked_runs(definition), TOLD_PER_REASON)
    excluded = runs.excluded_runs(definition)
    yield from islice((run for run in excluded if run.held), TOLD_PER_REASON)
    yield from islice((run for run in excluded if run.managed_elsewhere and not run.held), TOLD_PER_REASON)
    if runs.refused_schedules:
        yield from islice((run for run in excluded if runs.is_refused(run)), TOLD_PER_REASON)


class EventRecorder:
    """Writes Events in a thread of its own, so that no admission waits for one.

    Args:
        client: the client of the namespace.
        reporter: the identity of this dispatcher.
        heartbeat: beats around every call.
        clock: seconds that never go back.
    """

    def __init__(
        self, client: NamespacedClient, reporter: str, heartbeat: Heartbeat, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._reporter = reporter
        self._heartbeat = heartbeat
        self._clock = clock
        self._waiting: deque[PendingEvent] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._backoff = BackoffTable[None](1.0, 60.0)
        self._outage = OutageLogger(log, "Events on runs can't be written")
        self.thread = threading.Thread(target=self._run, name="events", daemon=True)

    def record(self, events: Iterable[PendingEvent]) -> None:
        """Queue Events to be written. If the queue is full, they are dropped."""
        with self._changed:
            for one in events:
                if len(self._waiting) < _MOST_WAITING:
                    self._waiting.append(one)
            self._changed.notify()

    def clear(self) -> None:
        """Drop the Events that are not written yet, because this dispatcher no longer leads."""
        with self._changed:
            self._waiting.clear()

    def stop(self) -> None:
        """Ask the thread to end after its current call; returns at once."""
        self._stop.set()
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while (event := self._next()) is not None:
            pause_seconds = 1 / _PER_SECOND
            try:
                self._heartbeat.beat("events")
                self._write(*event)
                self._outage.recovered()
                self._backoff.succeed(None)
            except ClusterError as error:
                self._outage.failed(error)
                if error.retryable:
                    pause_seconds = self._retry_later(event, error)
            except Exception:
                log.exception("the Event on run %s could not be written", event[0].name)
            self._heartbeat.rest("events")
            self._stop.wait(pause_seconds)

    def _retry_later(self, event: PendingEvent, error: ClusterError) -> float:
        """Put an Event behind the others, which may not fail; return the pause in seconds."""
        self.record([event])
        return self._backoff.fail(None, self._clock(), at_least=error.retry_after_seconds or 0)

    def _next(self) -> PendingEvent | None:
        with self._changed:
            while not self._stop.is_set():
                if self._waiting:
                    return self._waiting.popleft()
                self._changed.wait()
        return None

    def _write(self, run: Run, reason: PendingReason, message: str) -> None:
        event = build_event(
            # One name per run and reason, so that another leader writes no second Event.
            name=f"{run.name}.{reason.value.lower()}",
            namespace=self._client.name,
            about=run.name,
            uid=run.uid,
            reason=reason.value,
            message=message,
            kind="Warning" if reason in _WARNINGS else "Normal",
            at=datetime.now(UTC),
            reporter=self._reporter,
        )
        try:
            self._client.create_event(event)
        except AlreadyExistsError:
            log.debug("the Event %s on %s is there already", reason.value, run.name)
