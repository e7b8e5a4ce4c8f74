"""The number of queued runs, from one watch and from the runs that this process is about to store.

Of each queued run only a few fields are kept, about 150 bytes. So 10,000 queued runs take little memory.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from app.common.types import Json
from app.domain.run import Phase
from app.kube import labels
from app.kube.parsing import phase_of, read_depends_on
from app.kube.reflector import SILENCE_SECONDS
from app.runs.limits.drain_rate import DrainRate
from app.runs.limits.queue_usage import QueuedJob, QueueUsage

_UNSEEN_SECONDS = SILENCE_SECONDS
"""How long a reserved run counts if the watch does not show it. A watch normally shows it within milliseconds. But its
events may be as old as the longest time for which it may be silent."""


def read_queued_job(job: Json) -> QueuedJob:
    """Read a Job that has our labels: one that the watch shows, or one that is about to be stored."""
    metadata = job["metadata"]
    # Many runs have the same definition: keep its name once for all of them.
    definition = sys.intern(metadata["labels"][labels.DEFINITION_LABEL])
    queued = phase_of(job) is Phase.QUEUED
    if not queued:
        return QueuedJob(metadata["name"], definition, queued=False)
    depends_on = read_depends_on((metadata.get("annotations") or {}).get(labels.DEPENDS_ON_ANNOTATION, "[]"))
    return QueuedJob(metadata["name"], definition, True, measure_kib(job), depends_on)


def measure_kib(job: Json) -> int:
    """Return about how many KiB a Job takes in etcd, at least 1.

    The size of its JSON is used, which is a little larger than what etcd stores.
    """
    return len(json.dumps(job, ensure_ascii=False).encode("utf-8", "replace")) // 1024 + 1


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many runs may be queued, and how much space they may take.

    Attributes:
        of_definition: the most queued runs of one definition; `None`: any number.
        of_all: the most queued runs of all definitions together; `None`: any number.
        kib_of_definition: the most KiB in etcd of one definition's queued runs; `None`: any amount.
        kib_of_all: the same for all definitions together; `None`: any amount.
        dependency_bytes: the most bytes of memory of all dependency lists together; `None`: any amount.
    """

    of_definition: int | None
    of_all: int | None
    kib_of_definition: int | None = None
    kib_of_all: int | None = None
    dependency_bytes: int | None = None


class Limit(Enum):
    """What is limited."""

    RUNS = "number of queued runs"
    SIZE = "size of the queued runs in etcd"
    DEPENDENCIES = "memory of the queued runs' dependencies"


@dataclass(frozen=True, slots=True)
class QueueFull:
    """A limit that one more run would exceed.

    Attributes:
        definition: the definition whose limit it is; `None`: it is a limit of all definitions together.
        limit: the limit: a number of runs, KiB in etcd, or bytes of memory.
        retry_after_seconds: the time in which about one run leaves the queue.
        kind: what is limited.
    """

    definition: str | None
    limit: int
    retry_after_seconds: int
    kind: Limit = Limit.RUNS


@dataclass(frozen=True, slots=True)
class Reservation:
    """A place in the queue for a run that is about to be stored.

    Attributes:
        counter: the counter that counts the run; `None`: there is nothing to release, because the run is counted
            already or no limit is set.
        name: the name of the run's Job.
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
        job: the run.
        since: when the first request reserved the place.
        requests: how many requests may store the run: several, if they share an Idempotency-Key.
    """

    job: QueuedJob
    since: float
    requests: int = 1


class QueueCounter:
    """Counts the queued runs of a namespace by definition: the store of a reflector. Safe to share between threads.

    A run that this process stores counts from the moment before the create call. It counts once, even if the watch
    shows it late.

    Args:
        clock: seconds that never go back.

    Attributes:
        filled: set once all runs have been listed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queued: dict[str, QueuedJob] = {}  # by names of Jobs
        self._reserved: dict[str, _Reserved] = {}  # by names of Jobs, the oldest first
        self._usage = QueueUsage()  # of both
        began = clock()
        self._drains: defaultdict[str, DrainRate] = defaultdict(lambda: DrainRate(began))
        self._drain_of_all = DrainRate(began)
        self.filled = threading.Event()

    def replace(self, records: list[QueuedJob], _version: int) -> None:
        """Count these runs and the reserved ones. A run that was queued before and is missing now has left."""
        with self._lock:
            for record in records:
                self._reserved.pop(record.name, None)
            before, self._queued, self._usage = self._queued, {}, QueueUsage()
            for record in records:
                if record.queued:
                    self._queued[record.name] = self._usage.add(record)
            for reserved in self._reserved.values():
                reserved.job = self._usage.add(reserved.job)
            for name in before.keys() - self._queued.keys():
                self._note_departure(before[name].definition)
        self.filled.set()

    def put(self, record: QueuedJob) -> None:
        """Count a run that is new or has changed."""
        with self._lock:
            reserved = self._reserved.pop(record.name, None)
            if reserved is not None:
                self._usage.remove(reserved.job)
            if record.queued:
                if (known := self._queued.get(record.name)) is not None:
                    self._usage.remove(known)
                self._queued[record.name] = self._usage.add(record)
                return
            self._leave(record)
            if reserved is not None:  # it was admitted before the watch showed it queued
                self._note_departure(record.definition)

    def remove(self, record: QueuedJob) -> None:
        """Stop counting a run that was deleted. A reservation of the same name stays: it is for a later run."""
        with self._lock:
            self._leave(record)

    def length(self, definition: str) -> int:
        """Return how many runs of a definition are queued or reserved."""
        return self._usage.runs[definition]

    def total(self) -> int:
        """Return how many runs of all definitions are queued or reserved."""
        return len(self._queued) + len(self._reserved)

    def reserve(self, job: QueuedJob, limits: QueueLimits) -> Reservation | QueueFull:
        """Reserve a place for a run that is about to be stored, unless a limit is reached.

        A run that is queued or reserved already needs no second place, so no limit applies to it.

        Args:
            job: the run.
            limits: the limits of the queues.
        """
        with self._lock:
            if job.name in self._queued:
                return Reservation(None, job.name)
            if job.name in self._reserved:
                self._reserved[job.name].requests += 1
                return Reservation(self, job.name)
            full = self._find_reached_limit(job, limits)
            if full is not None:
                return full
            self._reserved[job.name] = _Reserved(self._usage.add(job), self._clock())
            return Reservation(self, job.name)

    def find_reached_limit(self, job: QueuedJob, limits: QueueLimits) -> QueueFull | None:
        """Return the limit that this run would exceed; `None`: there is room. Nothing is reserved."""
        with self._lock:
            return self._find_reached_limit(job, limits)

    def release(self, name: str) -> None:
        """Take back the reservation of one request that has not stored this run."""
        with self._lock:
            if (reserved := self._reserved.get(name)) is not None:
                reserved.requests -= 1
                if reserved.requests == 0:
                    self._forget(name)

    def forget_unseen(self) -> None:
        """Drop reservations of runs that the watch should have shown long ago.

        Call this only when the watch has just delivered something. A silent watch does not show that a run is missing.
        """
        with self._lock:
            oldest = self._clock() - _UNSEEN_SECONDS
            while self._reserved:
                name, reserved = next(iter(self._reserved.items()))
                if reserved.since >= oldest:
                    return
                self._forget(name)

    def _find_reached_limit(self, job: QueuedJob, limits: QueueLimits) -> QueueFull | None:
        definition, usage = job.definition, self._usage
        added_bytes = usage.added_dependency_bytes(job)
        dependency_bytes = usage.dependency_bytes + added_bytes if added_bytes else 0
        for kind, used, limit, whose in (
            (Limit.RUNS, self.length(definition) + 1, limits.of_definition, definition),
            (Limit.RUNS, self.total() + 1, limits.of_all, None),
            (Limit.SIZE, usage.size_kib[definition] + job.size_kib, limits.kib_of_definition, definition),
            (Limit.SIZE, usage.total_kib + job.size_kib, limits.kib_of_all, None),
            (Limit.DEPENDENCIES, dependency_bytes, limits.dependency_bytes, None),
        ):
            if limit is not None and used > limit:
                drain = self._drain_of_all if whose is None else self._drains[whose]
                return QueueFull(whose, limit, drain.retry_after_seconds(self._clock()), kind)
        return None

    def _forget(self, name: str) -> None:
        self._usage.remove(self._reserved.pop(name).job)

    def _leave(self, record: QueuedJob) -> None:
        known = self._queued.pop(record.name, None)
        if known is not None:
            self._usage.remove(known)
            self._note_departure(known.definition)

    def _note_departure(self, definition: str) -> None:
        now = self._clock()
        self._drains[definition].note(now)
        self._drain_of_all.note(now)
