"""What the dispatcher knows of the cluster: runs in their queues, workloads by name.

Both are sinks of reflectors, read by the dispatcher under the same lock. Records are taken by resourceVersion, so it
does not matter whether the answer to our own write or the watch is first, nor how often a change is shown.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from threading import Event, RLock

from app.dispatcher.plan import Line
from app.domain.readiness import Readiness, assess
from app.domain.run import DependsOn, Phase, Run, queue_key
from app.domain.workload import Workload


class Changes:
    """What the tables share with their reader: one lock, and the news that something has changed."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._news = Event()

    def announce(self) -> None:
        """Wake the reader, or let it find the news when it next waits."""
        self._news.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for news; whether there was any."""
        news = self._news.wait(timeout_seconds)
        self._news.clear()
        return news


class _Queue:
    """The unfinished runs of one definition: the queued ones as `Line` has them, the others as a set of uids."""

    __slots__ = ("admitted", "queued")

    def __init__(self) -> None:
        self.queued: dict[DependsOn, list[Run]] = {}
        self.admitted: set[str] = set()

    def add(self, run: Run) -> None:
        if run.phase is Phase.QUEUED:
            insort(self.queued.setdefault(run.depends_on, []), run, key=queue_key)
        else:
            self.admitted.add(run.uid)

    def discard(self, run: Run) -> None:
        if run.phase is Phase.ADMITTED:
            self.admitted.discard(run.uid)
            return
        group = self.queued[run.depends_on]
        del group[bisect_left(group, queue_key(run), key=queue_key)]
        if not group:
            del self.queued[run.depends_on]


class RunTable:
    """Every unfinished run in the namespace, by definition. A finished one is not held."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._runs: dict[str, Run] = {}
        self._queues: dict[str, _Queue] = {}
        self._starting: dict[str, Run] = {}

    def replace(self, records: list[Run]) -> None:
        """Hold the unfinished ones of these runs; of a run that is known in a later version, the later version."""
        with self._changes.lock:
            known = self._runs
            self._runs, self._queues, self._starting = {}, {}, {}
            for run in records:
                held = known.get(run.uid)
                self._add(held if held and held.resource_version > run.resource_version else run)
            self._changes.announce()

    def put(self, record: Run) -> None:
        """Take in a run, unless a later version of it is known."""
        with self._changes.lock:
            held = self._runs.get(record.uid)
            if held is not None:
                if held.resource_version >= record.resource_version:
                    return
                self._discard(held)
            self._add(record)
            self._changes.announce()

    def update(self, record: Run) -> None:
        """Take in a later version of a run that is known; one that is gone meanwhile stays gone."""
        with self._changes.lock:
            if record.uid in self._runs:
                self.put(record)

    def remove(self, record: Run) -> None:
        """Forget a run that was deleted, or that lost our labels; not one that has come back since."""
        with self._changes.lock:
            held = self._runs.get(record.uid)
            if held is not None and held.resource_version <= record.resource_version:
                self._discard(held)
                self._changes.announce()

    def lines(self) -> dict[str, Line]:
        """The lines by definition; valid while the lock is held."""
        return {name: Line(queue.queued, len(queue.admitted)) for name, queue in self._queues.items()}

    def get(self, uid: str) -> Run | None:
        """A run that isn't finished."""
        return self._runs.get(uid)

    def starting(self) -> list[Run]:
        """The runs that must start in time, and of which nothing is known to be ready."""
        return list(self._starting.values())

    def _add(self, run: Run) -> None:
        if run.phase is not Phase.FINISHED:
            self._runs[run.uid] = run
            if run.pending_start is not None:
                self._starting[run.uid] = run
            self._queues.setdefault(run.definition, _Queue()).add(run)

    def _discard(self, run: Run) -> None:
        del self._runs[run.uid]
        self._starting.pop(run.uid, None)
        queue = self._queues[run.definition]
        queue.discard(run)
        if not queue.queued and not queue.admitted:
            del self._queues[run.definition]


class WorkloadTable:
    """The Deployments or the StatefulSets of the namespace, by name."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._workloads: dict[str, Workload] = {}

    def replace(self, records: list[Workload]) -> None:
        """Hold these workloads and no others."""
        with self._changes.lock:
            self._workloads = {workload.name: workload for workload in records}
            self._changes.announce()

    def put(self, record: Workload) -> None:
        """Take in a workload."""
        with self._changes.lock:
            self._workloads[record.name] = record
            self._changes.announce()

    def remove(self, record: Workload) -> None:
        """Forget a workload that was deleted."""
        with self._changes.lock:
            self._workloads.pop(record.name, None)
            self._changes.announce()

    def get(self, name: str) -> Workload | None:
        """The workload of this name."""
        return self._workloads.get(name)


class ReadinessByName(dict[str, Readiness]):
    """The readiness of workloads by name, each assessed when it is first looked up. Valid while the lock is held."""

    def __init__(self, tables: Sequence[WorkloadTable]) -> None:
        super().__init__()
        self._tables = tables

    def __missing__(self, name: str) -> Readiness:
        found = (table.get(name) for table in self._tables)
        readiness = assess(name, [workload for workload in found if workload is not None])
        self[name] = readiness
        return readiness
