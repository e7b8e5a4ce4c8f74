"""Telling on the runs themselves, as Kubernetes Events, why they wait.

An Event is written when the reason for waiting has changed and has stayed for a moment. A run that is admitted soon
costs none. Of the runs of a definition that wait for the same reason, the first ones are told; the others are told when
they have come that far. That its dependencies have become ready and it waits for a slot only is progress, and worth no
second Event.
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
from app.domain.pending_reason import PendingReason, explain
from app.domain.readiness import Unready
from app.domain.run import Phase, Run
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, ClusterError
from app.kube.manifests import build_event

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often reasons are looked at, and so how long one must have stayed to be told."""

TOLD_PER_REASON = 10
"""How many runs of a definition are told of the same reason at a time."""

_MOST_WAITING = 500
"""Events that wait to be written; what does not fit is told later, or not at all."""

_PER_SECOND = 20
"""At most so many Events are written per second."""

_WARNINGS = {PendingReason.DEFINITION_MISSING, PendingReason.REFUSED, PendingReason.SUSPENDED_AGAIN}

News = tuple[Run, PendingReason, str]
"""A run, why it waits, and the same in a sentence."""


class PendingReasons:
    """Finds the runs whose reason for waiting has changed and stayed."""

    def __init__(self) -> None:
        self._noticed: dict[str, PendingReason] = {}
        self._told: dict[str, PendingReason] = {}

    def find_news(self, runs: RunStore, slots: Mapping[str, int], unready: Unready) -> tuple[list[News], bool]:
        """Look at the first runs of each definition that wait; the caller holds the store's lock.

        Args:
            runs: as far as they are known.
            slots: by definition.
            unready: tells what runs wait for.

        Returns:
            What is to be told now, and whether to look again soon although nothing changes.
        """
        self._told = {uid: reason for uid, reason in self._told.items() if _is_queued(runs.get(uid))}
        noticed: dict[str, PendingReason] = {}
        news: list[News] = []
        for definition in list(runs.definitions()):
            for run in _first_waiting(runs, definition):
                reason, message = explain(run, runs.active(definition), slots, unready(run.depends_on))
                if not self._is_new(run.uid, reason):
                    continue
                noticed[run.uid] = reason
                if self._noticed.get(run.uid) is reason:
                    news.append((run, reason, message))
                    self._told[run.uid] = reason
        self._noticed = {uid: reason for uid, reason in noticed.items() if self._told.get(uid) is not reason}
        return news, bool(self._noticed)

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
    aside = runs.runs_set_aside(definition)
    yield from islice((run for run in aside if run.held), TOLD_PER_REASON)
    yield from islice((run for run in aside if run.managed_elsewhere and not run.held), TOLD_PER_REASON)


class EventRecorder:
    """Writes Events in a thread of its own, so that no admission waits for one.

    Args:
        client: whose runs.
        reporter: which dispatcher this is.
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
        self._waiting: deque[News] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._backoff = BackoffTable[None](1.0, 60.0)
        self._outage = OutageLogger(log, "Events on runs can't be written")
        self.thread = threading.Thread(target=self._run, name="events", daemon=True)

    def record(self, news: Iterable[News]) -> None:
        """Have Events written; one that finds the queue full is dropped."""
        with self._changed:
            for one in news:
                if len(self._waiting) < _MOST_WAITING:
                    self._waiting.append(one)
            self._changed.notify()

    def clear(self) -> None:
        """Drop what is not written yet: this dispatcher leads no more."""
        with self._changed:
            self._waiting.clear()

    def stop(self) -> None:
        """Have the thread end after the call under way; returns at once."""
        self._stop.set()
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while (news := self._next()) is not None:
            pause_seconds = 1 / _PER_SECOND
            try:
                self._heartbeat.beat("events")
                self._write(*news)
                self._outage.recovered()
                self._backoff.succeed(None)
            except ClusterError as error:
                self._outage.failed(error)
                if error.retryable:
                    pause_seconds = self._retry_later(news, error)
            except Exception:
                log.exception("the Event on run %s could not be written", news[0].name)
            self._heartbeat.rest("events")
            self._stop.wait(pause_seconds)

    def _retry_later(self, news: News, error: ClusterError) -> float:
        """Put an Event behind the others, for it may be its own affair; returns for how long to write none."""
        self.record([news])
        return self._backoff.fail(None, self._clock(), at_least=error.retry_after_seconds or 0)

    def _next(self) -> News | None:
        with self._changed:
            while not self._stop.is_set():
                if self._waiting:
                    return self._waiting.popleft()
                self._changed.wait()
        return None

    def _write(self, run: Run, reason: PendingReason, message: str) -> None:
        event = build_event(
            name=f"{run.name}.{reason.value.lower()}",  # one per run and reason: another leader makes no second one
            namespace=self._client.name,
            job=run.name,
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
