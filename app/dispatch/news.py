"""Telling on the runs themselves, as Kubernetes Events, why they wait.

An Event is news, not a state: it is written when the cause of waiting has changed and has stayed for a moment. A run
that is admitted soon costs none; one that waits costs one. That its dependencies have become ready and it now waits for
a slot only is progress, and worth no second one.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice, zip_longest

from app.cluster.errors import AlreadyExistsError, ClusterError
from app.cluster.manifests import build_event
from app.cluster.namespace import Namespace
from app.cluster.records import Run
from app.cluster.troubles import Trouble
from app.dispatch.plan import Cause, Unready, cause_of, explain
from app.dispatch.tables import Changes, RunTable

log = logging.getLogger(__name__)

NEWS_SECONDS = 1.0
"""How often causes are looked at, and so how long one must have stayed to be told."""

_EVENTS_PER_ISSUE = 20
"""At most so many Events are written at a time, so that ten thousand queued runs are no burst of writes."""

_ISSUE_SECONDS = 0.1
"""After so long no further Event is written for now: admissions wait meanwhile."""

_WARNINGS = {Cause.DEFINITION_MISSING}


class Newsroom:
    """Writes the Events of queued runs.

    Args:
        namespace: whose runs.

    Attributes:
        reporter: which dispatcher this is.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.reporter = ""
        self._noticed: dict[str, Cause] = {}
        self._told: dict[str, Cause] = {}
        self._trouble = Trouble(log, "Events on runs can't be written")

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
        with changes.lock:
            lines = runs.lines()
            causes = {
                run.uid: cause
                for definition, line in lines.items()
                for depends_on, queued in line.queued.items()
                for cause in (cause_of(definition, depends_on, line.admitted, slots, unready),)
                for run in queued
            }
            news = [uid for uid, cause in causes.items() if self._is_news(uid, cause)]
            lasting = _in_turn(run for uid in news if self._noticed.get(uid) is causes[uid] and (run := runs.get(uid)))
            stories = [
                (run, causes[run.uid], explain(run, lines[run.definition].admitted, slots, unready)[1])
                for run in islice(lasting, _EVENTS_PER_ISSUE)
            ]
            self._noticed = causes
            self._told = {uid: cause for uid, cause in self._told.items() if uid in causes}
        told = 0
        enough_at = time.monotonic() + _ISSUE_SECONDS
        for run, cause, message in stories:
            if not goes_on() or not self._write(run, cause, message):
                break
            self._told[run.uid] = cause
            told += 1
            if time.monotonic() > enough_at:
                break
        return len(news) > told

    def _is_news(self, uid: str, cause: Cause) -> bool:
        if cause is Cause.NOTHING:
            return False
        told = self._told.get(uid)
        return told is None or (cause is not told and cause is not Cause.NO_FREE_SLOT)

    def _write(self, run: Run, cause: Cause, message: str) -> bool:
        """Write one Event; whether this is done with, be it that it is refused. `False`: the API server is away."""
        event = build_event(
            # One name per run and cause: another leader, or this one after a lost answer, doesn't tell it twice.
            name=f"{run.name}.{cause.value.lower()}",
            namespace=self._namespace.name,
            job=run.name,
            uid=run.uid,
            reason=cause.value,
            message=message,
            kind="Warning" if cause in _WARNINGS else "Normal",
            at=datetime.now(UTC),
            reporter=self.reporter,
        )
        try:
            self._namespace.create_event(event)
        except AlreadyExistsError:
            pass
        except ClusterError as error:
            self._trouble.happened(error)
            return not error.may_pass
        else:
            self._trouble.ended()
        return True


def _in_turn(runs: Iterable[Run]) -> Iterator[Run]:
    """One of each definition, then the next of each: a long queue must not keep the others' news back."""
    by_definition: dict[str, list[Run]] = {}
    for run in runs:
        by_definition.setdefault(run.definition, []).append(run)
    return (run for turn in zip_longest(*by_definition.values()) for run in turn if run is not None)
