"""Telling on the runs themselves, as Kubernetes Events, why they wait.

An Event is news, not a state: it is written when the cause of waiting has changed and has stayed for a moment. A run
that is admitted soon costs none; one that waits costs one. That its dependencies have become ready and it now waits for
a slot only is progress, and worth no second one. What an earlier dispatcher has told is read once, page by page, when
there is first something to tell: another one need not say it again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice, zip_longest

from app.common.outage_logger import OutageLogger
from app.dispatcher.archive import Archive, event_name
from app.dispatcher.pauses import Pause
from app.dispatcher.tables import Changes, RunTable
from app.domain.pending_reason import PendingReason, explain, find_pending_reason
from app.domain.readiness import Unready
from app.domain.run import Run
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, ClusterError
from app.kube.manifests import build_event

log = logging.getLogger(__name__)

NEWS_SECONDS = 1.0
"""How often causes are looked at, and so how long one must have stayed to be told."""

_EVENTS_PER_ISSUE = 20
"""At most so many Events are written at a time, so that ten thousand queued runs are no burst of writes."""

_ISSUE_SECONDS = 0.1
"""After so long no further Event is written, and no further page of them read, for now: admissions wait meanwhile."""

_NO_PAUSE = Pause(first_seconds=2.0, last_seconds=60.0)
"""How long a run is not told what the API server gave no answer to, and after several such in a row nobody is told
anything, longer each time: clusters often keep Events in an etcd of their own, and every call that it leaves hanging
holds up admissions."""

_WARNINGS = {PendingReason.DEFINITION_MISSING}


class Newsroom:
    """Writes the Events of queued runs.

    Args:
        client: whose runs.
        clock: seconds that never go back.

    Attributes:
        reporter: which dispatcher this is.
    """

    def __init__(self, client: NamespacedClient, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._pause = _NO_PAUSE
        self._put_off: dict[str, Pause] = {}  # by uid
        self._unanswered = 0  # Events in a row
        self.reporter = ""
        self._noticed: dict[str, PendingReason] = {}
        self._told: dict[str, PendingReason] = {}
        self._archive: Archive | None = None
        self._outage = OutageLogger(log, "Events on runs can't be written")

    def open_term(self) -> None:
        """Begin a term of the leader: others may have told things since the last one."""
        self._archive = Archive(self._client)

    def publish(
        self,
        changes: Changes,
        runs: RunTable,
        unready: Unready,
        slots: Mapping[str, int],
        goes_on: Callable[[], bool],
    ) -> bool:
        """Write what is new.

        Args:
            changes: shared with the tables.
            runs: as far as they are known.
            unready: tells what runs wait for.
            slots: by definition.
            goes_on: asked before every Event whether there is any sense in it still.

        Returns:
            Whether something is left to be told, or to be looked at again, after `NEWS_SECONDS`.
        """
        now = self._clock()
        if now < self._pause.until:
            return True
        with changes.lock:
            lines = runs.lines()
            causes = {
                run.uid: cause
                for definition, line in lines.items()
                for depends_on, queued in line.queued.items()
                for cause in (find_pending_reason(definition, line.admitted, slots, unready(depends_on)),)
                for run in queued
            }
            news = [uid for uid, cause in causes.items() if self._is_news(uid, cause)]
            lasting = [run for uid in news if self._noticed.get(uid) is causes[uid] if (run := runs.get(uid))]
            self._noticed = causes
            self._told = {uid: cause for uid, cause in self._told.items() if uid in causes}
            self._put_off = {uid: pause for uid, pause in self._put_off.items() if uid in causes}
            if not lasting:
                return bool(news)
            told_now = [run for run in lasting if run.uid not in self._put_off or self._put_off[run.uid].until <= now]
            stories = [
                (run, causes[run.uid], explain(run, lines[run.definition].admitted, slots, unready(run.depends_on))[1])
                for run in islice(_in_turns(told_now), _EVENTS_PER_ISSUE)
            ]
            queued = {run.name for uid in causes if (run := runs.get(uid))} if self._archive is not None else set()
        told = 0
        enough_at = time.monotonic() + _ISSUE_SECONDS
        if (archive := self._archive) is not None:
            try:
                if archive.read(enough_at, goes_on, queued):
                    self._told |= {run.uid: cause for run in lasting if (cause := archive.told(run, causes[run.uid]))}
                    self._archive = None
            except ClusterError as error:
                self._pause = self._pause.longer(now, error)
            return True
        for run, cause, message in stories:
            if not goes_on() or not self._write(run, cause, message):
                break
            self._told[run.uid] = cause
            told += 1
            if time.monotonic() > enough_at:
                break
        return len(news) > told

    def _is_news(self, uid: str, cause: PendingReason) -> bool:
        if cause is PendingReason.NOTHING:
            return False
        told = self._told.get(uid)
        return told is None or (cause is not told and cause is not PendingReason.NO_FREE_SLOT)

    def _write(self, run: Run, cause: PendingReason, message: str) -> bool:
        """Write one Event; whether this is done with, be it that it is refused. `False`: the API server is away."""
        event = build_event(
            name=event_name(run, cause),
            namespace=self._client.name,
            job=run.name,
            uid=run.uid,
            reason=cause.value,
            message=message,
            kind="Warning" if cause in _WARNINGS else "Normal",
            at=datetime.now(UTC),
            reporter=self.reporter,
        )
        try:
            self._client.create_event(event)
        except AlreadyExistsError:
            pass
        except ClusterError as error:
            self._outage.failed(error)
            if error.retryable:
                self._wait(run, error)
                return False
        else:
            self._outage.recovered()
        self._pause, self._unanswered = _NO_PAUSE, 0
        return True

    def _wait(self, run: Run, error: ClusterError) -> None:
        """Take in that an Event had no answer: that may be its own affair, or that of all Events."""
        now = self._clock()
        self._put_off[run.uid] = self._put_off.get(run.uid, _NO_PAUSE).longer(now, error)
        self._unanswered += 1
        if self._unanswered > 1 or not error.outcome_unknown:
            self._pause = self._pause.longer(now, error)


def _in_turns(runs: list[Run]) -> Iterator[Run]:
    """The runs, one of each definition at a time: a long queue of one doesn't delay the news of the others."""
    by_definition: dict[str, list[Run]] = {}
    for run in runs:
        by_definition.setdefault(run.definition, []).append(run)
    return (run for run in chain.from_iterable(zip_longest(*by_definition.values())) if run is not None)
