"""The number of queued runs, from one watch and from the runs that this process is about to store.

Of a queued run only its name and its definition's are kept: about 150 bytes with its place in a table.
"""

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from app.common.types import Json
from app.domain.run import Phase
from app.kube import labels
from app.kube.parsing import phase_of
from app.kube.reflector import SILENCE_SECONDS
from app.runs.limits.drain_rate import DrainRate

_UNSEEN_SECONDS = SILENCE_SECONDS
"""How long a reserved run counts that the watch has not shown. A watch shows it within milliseconds, but what it
delivers may be as old as the longest time that it can be silent."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A run as the watch shows it.

    Attributes:
        name: the Job's name.
        definition: from the Job's label.
        queued: whether the run is queued.
    """

    name: str
    definition: str
    queued: bool


def read_queued_job(job: Json) -> QueuedJob:
    """Read a Job that has our labels."""
    metadata = job["metadata"]
    # Many runs share few definitions: keep one string for all of them.
    definition = sys.intern(metadata["labels"][labels.DEFINITION_LABEL])
    return QueuedJob(metadata["name"], definition, phase_of(job) is Phase.QUEUED)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many runs may be queued.

    Attributes:
        of_definition: of one definition; `None`: any number.
        of_all: of all definitions together; `None`: any number.
    """

    of_definition: int | None
    of_all: int | None


@dataclass(frozen=True, slots=True)
class QueueFull:
    """No other run may be queued.

    Attributes:
        definition: whose limit is reached; `None`: the limit of all definitions together.
        limit: how many runs may be queued.
        retry_after_seconds: in about this time a run leaves the queue.
    """

    definition: str | None
    limit: int
    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A place in the queue for a run that is about to be stored.

    Attributes:
        counter: counts the run; `None`: nothing has to be released, as the run is counted otherwise or no limit is set.
        name: of the run's Job.
    """

    counter: "QueueCounter | None"
    name: str

    def release(self) -> None:
        """Give the place back. Call this once, and only when it is certain that this request has not stored the run."""
        if self.counter is not None:
            self.counter.release(self.name)


@dataclass(slots=True)
class _Reserved:
    """A run that is about to be stored, or that is stored and not seen by the watch yet.

    Attributes:
        definition: the run's.
        since: when the first request reserved the place.
        requests: how many requests may store the run: several, if they share an Idempotency-Key.
    """

    definition: str
    since: float
    requests: int = 1


class QueueCounter:
    """Counts the queued runs of a namespace by definition: the store of a reflector. Safe to share between threads.

    A run that this process stores counts from before the create is sent, and counts once, however late the watch
    shows it.

    Args:
        clock: seconds that never go back.

    Attributes:
        filled: set once all runs have been listed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queued: dict[str, str] = {}  # definitions by names of Jobs
        self._reserved: dict[str, _Reserved] = {}  # by names of Jobs, the oldest first
        self._lengths: Counter[str] = Counter()  # queued and reserved runs by definition
        began = clock()
        self._drains: defaultdict[str, DrainRate] = defaultdict(lambda: DrainRate(began))
        self._drain_of_all = DrainRate(began)
        self.filled = threading.Event()

    def replace(self, records: list[QueuedJob], _version: int) -> None:
        """Count these runs and the reserved ones. Runs that were queued before and no longer are have left."""
        with self._lock:
            queued = {record.name: record.definition for record in records if record.queued}
            for name in self._queued.keys() - queued.keys():
                self._note_departure(self._queued[name])
            for record in records:
                self._reserved.pop(record.name, None)
            self._queued = queued
            self._lengths = Counter(queued.values())
            self._lengths.update(reserved.definition for reserved in self._reserved.values())
        self.filled.set()

    def put(self, record: QueuedJob) -> None:
        """Count a run that is new or has changed."""
        with self._lock:
            reserved = self._reserved.pop(record.name, None)
            if reserved is not None:
                self._lengths[reserved.definition] -= 1
            if record.queued and record.name not in self._queued:
                self._queued[record.name] = record.definition
                self._lengths[record.definition] += 1
            elif not record.queued:
                self._leave(record)
                if reserved is not None:  # it was admitted before the watch showed it queued
                    self._note_departure(record.definition)

    def remove(self, record: QueuedJob) -> None:
        """Stop counting a run that was deleted. A reservation of the same name stays: it is for a later run."""
        with self._lock:
            self._leave(record)

    def length(self, definition: str) -> int:
        """Return how many runs of a definition are queued or reserved."""
        return self._lengths[definition]

    def total(self) -> int:
        """Return how many runs of all definitions are queued or reserved."""
        return len(self._queued) + len(self._reserved)

    def reserve(self, definition: str, name: str, limits: QueueLimits) -> Reservation | QueueFull:
        """Reserve a place for a run that is about to be stored, unless a limit is reached.

        A run that is queued or reserved already needs no other place: no limit applies to it.

        Args:
            definition: the run's.
            name: of the run's Job.
            limits: how many runs may be queued.
        """
        with self._lock:
            if name in self._queued:
                return Reservation(None, name)
            if name in self._reserved:
                self._reserved[name].requests += 1
                return Reservation(self, name)
            full = self._find_reached_limit(definition, limits)
            if full is not None:
                return full
            self._reserved[name] = _Reserved(definition, self._clock())
            self._lengths[definition] += 1
            return Reservation(self, name)

    def find_reached_limit(self, definition: str, limits: QueueLimits) -> QueueFull | None:
        """Return the limit that another run would exceed; `None`: there is room. Nothing is reserved."""
        with self._lock:
            return self._find_reached_limit(definition, limits)

    def release(self, name: str) -> None:
        """Take back the reservation of one request that has not stored this run."""
        with self._lock:
            if (reserved := self._reserved.get(name)) is not None:
                reserved.requests -= 1
                if reserved.requests == 0:
                    self._forget(name)

    def forget_unseen(self) -> None:
        """Drop reservations of runs that the watch should have shown long ago.

        Call this only when the watch has just delivered something: a silent watch proves nothing.
        """
        with self._lock:
            oldest = self._clock() - _UNSEEN_SECONDS
            while self._reserved:
                name, reserved = next(iter(self._reserved.items()))
                if reserved.since >= oldest:
                    return
                self._forget(name)

    def _find_reached_limit(self, definition: str, limits: QueueLimits) -> QueueFull | None:
        now = self._clock()
        if limits.of_definition is not None and self.length(definition) >= limits.of_definition:
            return QueueFull(definition, limits.of_definition, self._drains[definition].retry_after_seconds(now))
        if limits.of_all is not None and self.total() >= limits.of_all:
            return QueueFull(None, limits.of_all, self._drain_of_all.retry_after_seconds(now))
        return None

    def _forget(self, name: str) -> None:
        self._lengths[self._reserved.pop(name).definition] -= 1

    def _leave(self, record: QueuedJob) -> None:
        definition = self._queued.pop(record.name, None)
        if definition is not None:
            self._lengths[definition] -= 1
            self._note_departure(definition)

    def _note_departure(self, definition: str) -> None:
        now = self._clock()
        self._drains[definition].note(now)
        self._drain_of_all.note(now)
