"""How many runs are queued, and how soon the next one leaves: what one watch shows, and what is about to be stored.

All that is kept of a queued run is its name and its definition's, about 150 bytes with its place in a table.
"""

import math
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.common.types import Json
from app.domain.run import Phase
from app.kube import labels
from app.kube.parsing import phase_of
from app.kube.reflector import SILENCE_SECONDS

_WINDOW_SECONDS = 60.0
"""How far back departures are looked at."""

_LONGEST_RETRY_SECONDS = 300

_UNSEEN_SECONDS = SILENCE_SECONDS
"""How long a run that was stored, or may have been, counts without being seen. A watch shows it within milliseconds,
but what it brings may be as old as it can be silent."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What the watch shows of a run.

    Attributes:
        name: of the Job.
        definition: from its label.
        queued: whether it waits.
    """

    name: str
    definition: str
    queued: bool


def read_queued_job(job: Json) -> QueuedJob:
    """Read a Job with our labels."""
    metadata = job["metadata"]
    # Many runs share few names of definitions: one string for all.
    definition = sys.intern(metadata["labels"][labels.DEFINITION_LABEL])
    return QueuedJob(metadata["name"], definition, phase_of(job) is Phase.QUEUED)


class DrainRate:
    """How fast runs leave a queue.

    Args:
        since: when this began to look, seconds by a clock that never goes back.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        # More than one a second makes no difference to the answer, so no more need be remembered.
        self._departures: deque[float] = deque(maxlen=int(_WINDOW_SECONDS))

    def note(self, now: float) -> None:
        """A run has left."""
        self._departures.append(now)

    def retry_after_seconds(self, now: float) -> int:
        """After how many seconds another try is worth its while: as long as it takes a run to leave, from 1 to 300."""
        recent = sum(now - departure <= _WINDOW_SECONDS for departure in self._departures)
        if recent:
            seconds = min(_WINDOW_SECONDS, now - self._since) / recent
        else:
            seconds = now - (self._departures[-1] if self._departures else self._since)
        return max(1, min(math.ceil(seconds), _LONGEST_RETRY_SECONDS))


@dataclass(slots=True)
class _Expected:
    """A run that is about to be stored, or was and hasn't been seen yet.

    Attributes:
        definition: whose run.
        since: when the first of its calls came.
        calls: those that may store it; several where they have one Idempotency-Key.
    """

    definition: str
    since: float
    calls: int = 1


class QueueCounter:
    """The queued runs of the namespace by definition; the sink of a reflector. Safe to share between threads.

    A run that is being stored here counts from before it is sent, and once only, however late the watch shows it.

    Args:
        clock: seconds that never go back.

    Attributes:
        filled: set once everything has been listed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # `is_free` of `expect` asks under it
        self._queued: dict[str, str] = {}  # definitions by names of runs
        self._expected: dict[str, _Expected] = {}  # by names of runs, the oldest first
        self._lengths: Counter[str] = Counter()  # both of them, by definition
        began = clock()
        self._drains: defaultdict[str, DrainRate] = defaultdict(lambda: DrainRate(began))
        self._drain_of_all = DrainRate(began)
        self.filled = threading.Event()

    def replace(self, records: list[QueuedJob], _version: int) -> None:
        """Count these runs, and what is about to be stored; those that are queued no longer have left."""
        with self._lock:
            queued = {sight.name: sight.definition for sight in records if sight.queued}
            for name in self._queued.keys() - queued.keys():
                self._note_departure(self._queued[name])
            for sight in records:
                self._expected.pop(sight.name, None)
            self._queued = queued
            self._lengths = Counter(queued.values())
            self._lengths.update(expected.definition for expected in self._expected.values())
        self.filled.set()

    def put(self, record: QueuedJob) -> None:
        """Take in a run that is new or has changed."""
        with self._lock:
            expected = self._expected.pop(record.name, None)
            if expected is not None:
                self._lengths[expected.definition] -= 1
            if record.queued and record.name not in self._queued:
                self._queued[record.name] = record.definition
                self._lengths[record.definition] += 1
            elif not record.queued:
                self._leave(record)
                if expected is not None:  # it was admitted before the watch could show it queued
                    self._note_departure(record.definition)

    def remove(self, record: QueuedJob) -> None:
        """Forget a run that was deleted; one of the same name may be about to be stored."""
        with self._lock:
            self._leave(record)

    def length(self, definition: str) -> int:
        """How many runs of a definition are queued, or about to be."""
        return self._lengths[definition]

    def total(self) -> int:
        """How many there are in all."""
        return len(self._queued) + len(self._expected)

    def retry_after_seconds(self, definition: str | None) -> int:
        """How soon to expect that a run of the definition leaves its queue; `None`: of any."""
        with self._lock:
            drain = self._drain_of_all if definition is None else self._drains[definition]
            return drain.retry_after_seconds(self._clock())

    def expect(self, definition: str, name: str, is_free: Callable[[], None]) -> bool:
        """Count a run that is about to be stored.

        Args:
            definition: whose run.
            name: of its Job.
            is_free: raises where there is no place for another run; not asked for a run that has its place already.

        Returns:
            Whether it counts, so that it has to be taken back where it is not stored.
        """
        with self._lock:
            if name in self._queued:
                return False
            if name in self._expected:
                self._expected[name].calls += 1
                return True
            is_free()
            self._expected[name] = _Expected(definition, self._clock())
            self._lengths[definition] += 1
            return True

    def release(self, name: str) -> None:
        """A call that expected this run has not stored it."""
        with self._lock:
            if (expected := self._expected.get(name)) is not None:
                expected.calls -= 1
                if expected.calls == 0:
                    self._forget(name)

    def forget_unseen(self) -> None:
        """Count no longer what the watch should have shown long ago; to be called when it has just shown its life."""
        with self._lock:
            oldest = self._clock() - _UNSEEN_SECONDS
            while self._expected:
                name, expected = next(iter(self._expected.items()))
                if expected.since >= oldest:
                    return
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._lengths[self._expected.pop(name).definition] -= 1

    def _leave(self, record: QueuedJob) -> None:
        definition = self._queued.pop(record.name, None)
        if definition is not None:
            self._lengths[definition] -= 1
            self._note_departure(definition)

    def _note_departure(self, definition: str) -> None:
        now = self._clock()
        self._drains[definition].note(now)
        self._drain_of_all.note(now)
