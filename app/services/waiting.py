"""Waiting for the end of a run, on behalf of a caller who would else ask again and again."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.cluster.changes import changes_of
from app.cluster.client import Json
from app.cluster.errors import ClusterError
from app.cluster.interrupts import Interrupt
from app.cluster.namespace import Namespace
from app.cluster.records import terminal_condition
from app.services.gate import BusyError
from app.services.runs import Runs, UnknownRunError
from app.services.streams import Streams
from schemas.run import RunView, Status

log = logging.getLogger(__name__)

_WATCH_SECONDS = 50
"""How long one watch may last; beginning another costs two cheap calls."""

_FIRST_PAUSE_SECONDS = 0.1
_LAST_PAUSE_SECONDS = 5.0
_STEADY_SECONDS = 1.0
"""A watch that lasted so long ended the row of failures."""


def has_ended(view: RunView) -> bool:
    """Whether a run won't change any more."""
    return view.status in (Status.SUCCEEDED, Status.FAILED)


class Waits:
    """Waits for runs.

    Args:
        namespace: where they are.
        runs: reads them.
        streams: gives the places.
    """

    def __init__(self, namespace: Namespace, runs: Runs, streams: Streams) -> None:
        self._namespace = namespace
        self._runs = runs
        self._streams = streams

    @contextmanager
    def place(self, seconds: int | None, gone: Callable[[], bool]) -> Iterator[Interrupt | None]:
        """Hold a place for a caller who wants to wait so long; `None`, for one who doesn't (`None` or 0).

        Raises:
            TooManyStreamsError: there is none.
        """
        if not seconds:
            yield None
            return
        with self._streams.place(gone, seconds) as interrupt:
            yield interrupt

    def wait_for_end(self, definition: str, run_id: str, interrupt: Interrupt) -> RunView:
        """Return a run when it has ended, or as it is when the interrupt is set.

        An outage of the API server is waited out.

        Raises:
            UnknownRunError: there is no such run, or it was deleted meanwhile before it had ended.
            ClusterError: the API server can't be asked when the time is up.
        """
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not interrupt.is_set:
            began = time.monotonic()
            try:
                job = self._watch(self._runs.find(definition, run_id), interrupt)
                if terminal_condition(job) is not None:
                    # Not read again: where its TTL is short, the run may be gone by now.
                    return self._runs.view(job)
            except ClusterError as error:
                if not interrupt.is_set:
                    log.warning("waiting for a run, reading it again: %s", error)
            if time.monotonic() - began > max(pause_seconds, _STEADY_SECONDS):
                pause_seconds = _FIRST_PAUSE_SECONDS
            # Many may wait when a server breaks: they don't all come back at once.
            interrupt.wait(pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, nothing secret
            pause_seconds = min(pause_seconds * 2, _LAST_PAUSE_SECONDS)
        return self._runs.get(definition, run_id)

    def wait_if_possible(self, definition: str, run_id: str, interrupt: Interrupt) -> RunView | None:
        """Wait as `wait_for_end` does for a run that has just been stored; `None`: nobody can say what became of it."""
        try:
            return self.wait_for_end(definition, run_id, interrupt)
        except (UnknownRunError, ClusterError, BusyError) as error:
            log.warning("a run that was waited for can't be read: %s", error)
            return None

    def _watch(self, job: Json, interrupt: Interrupt) -> Json:
        """Watch a Job until it has ended, or for as long as the watch lasts; returns its last state."""
        if terminal_condition(job) is not None:
            return job
        for change in changes_of(self._namespace, job, seconds=_WATCH_SECONDS, interrupt=interrupt):
            job = change.job
            if terminal_condition(job) is not None:
                break
            if change.deleted:
                raise UnknownRunError(job["metadata"]["name"])
        return job
