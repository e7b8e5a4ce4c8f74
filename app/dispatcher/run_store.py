"""What the leader knows of the cluster: its unfinished runs in their queues, and which workloads are ready.

The stores are kept up to date by reflectors and by the answers to our own writes. Records are compared by
resourceVersion, so the order in which both arrive does not matter. Every change costs what it changes, however many
runs wait: runs that depend on the same workloads form a group, and each group is indexed by the first of its
dependencies that isn't ready.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from threading import Event, RLock

from app.domain.run import DependsOn, Phase, Run, queue_key
from app.domain.workload import Workload

QueueKey = tuple[int, str]

_UNREADABLE = "\0"
"""Stands for a dependency list that can't be read: no workload has this name, so it is never ready."""


class ChangeSignal:
    """What the stores share with their readers: one lock, and a signal that something has changed."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._event = Event()

    def notify(self) -> None:
        """Wake the reader, or have its next wait return at once."""
        self._event.set()

    def wait(self, timeout_seconds: float) -> None:
        """Wait for a signal."""
        self._event.wait(timeout_seconds)
        self._event.clear()


class _Group:
    """Queued runs of one definition that depend on the same workloads, in the order of the queue.

    Attributes:
        blocked_by: the first dependency that isn't ready; `None`: the group's runs could start.
    """

    __slots__ = ("blocked_by", "definition", "depends_on", "keys", "runs")

    def __init__(self, definition: str, depends_on: DependsOn) -> None:
        self.definition = definition
        self.depends_on = depends_on
        self.keys: list[QueueKey] = []
        self.runs: list[Run] = []
        self.blocked_by: str | None = None


_Heads = list[tuple[QueueKey, _Group]]
"""Groups by the key of their first run, which no two runs share."""


class _Queue:
    """The unfinished runs of one definition.

    Attributes:
        active: uids of those that hold a slot.
        groups: the queued runs that only wait for dependencies or a slot, by what they depend on.
        ready: the groups whose runs could start, by their first run.
        blocked: the other groups, by their first run.
        aside: queued runs that are not to be chosen: held, managed elsewhere, or parked by the dispatcher.
        queued: how many runs are queued.
    """

    __slots__ = ("active", "aside", "blocked", "groups", "queued", "ready")

    def __init__(self) -> None:
        self.active: set[str] = set()
        self.groups: dict[DependsOn, _Group] = {}
        self.ready: _Heads = []
        self.blocked: _Heads = []
        self.aside: dict[str, Run] = {}
        self.queued = 0


class RunStore:
    """Every unfinished run in the namespace, by definition. A finished one is not held.

    Args:
        signal: whose lock guards this store, and which is notified of changes.
        on_change: called under the lock with a run as it was known and as it is; `None`: it was not known, is gone.
        on_rewind: called when a list is older than what was known: etcd has been restored.
    """

    def __init__(
        self,
        signal: ChangeSignal,
        on_change: Callable[[Run | None, Run | None], None] = lambda _before, _after: None,
        on_rewind: Callable[[], None] = lambda: None,
    ) -> None:
        self._signal = signal
        self._on_change = on_change
        self._on_rewind = on_rewind
        self._runs: dict[str, Run] = {}
        self._queues: dict[str, _Queue] = {}
        self._starting: dict[str, Run] = {}
        self._parked: set[str] = set()
        self._requeued: dict[str, QueueKey] = {}
        self._ready_names: set[str] = set()
        self._blocked_on: dict[str, set[_Group]] = {}
        self._relying_on: dict[str, set[_Group]] = {}
        self._version = 0

    # Changes, from a reflector or from the answer to a write.

    def replace(self, records: list[Run], version: int) -> None:
        """Hold the unfinished ones of these runs.

        Args:
            records: every run, as it was at `version`.
            version: the list's resourceVersion. A run that is known in a version later than that stays as it is. A list
                older than what was known is believed: etcd has been restored.
        """
        with self._signal.lock:
            rewound, self._version = version < self._version, version
            known, self._runs = self._runs, {}
            self._queues, self._starting = {}, {}
            self._blocked_on, self._relying_on = {}, {}
            for run in sorted(records, key=self._key):
                held = known.pop(run.uid, None)
                keep = held is not None and not rewound and held.resource_version > version
                self._take_in(held, held if held is not None and keep else run)
            for gone in known.values():
                self._forget(gone)
            if rewound:
                self._on_rewind()
            self._signal.notify()

    def put(self, record: Run) -> None:
        """Take in a run from the watch, unless a later version of it is known."""
        with self._signal.lock:
            self._version = max(self._version, record.resource_version)
            self._put(record)

    def update(self, record: Run) -> None:
        """Take in a later version of a run that is known; one that is gone meanwhile stays gone."""
        with self._signal.lock:
            if record.uid in self._runs:
                self._put(record)

    def remove(self, record: Run) -> None:
        """Forget a run that was deleted, or that lost our labels; not one that has come back since."""
        with self._signal.lock:
            self._version = max(self._version, record.resource_version)
            held = self._runs.get(record.uid)
            if held is not None and held.resource_version <= record.resource_version:
                self._discard(held)
                self._forget(held)
                self._signal.notify()

    def _put(self, record: Run) -> None:
        held = self._runs.get(record.uid)
        if held is not None:
            if held.resource_version >= record.resource_version:
                return
            self._discard(held)
        self._take_in(held, record)
        self._signal.notify()

    def _take_in(self, before: Run | None, run: Run) -> None:
        self._add(run)
        if run.phase is Phase.FINISHED:
            self._parked.discard(run.uid)
            self._requeued.pop(run.uid, None)
        self._on_change(before, run)

    def _forget(self, run: Run) -> None:
        self._parked.discard(run.uid)
        self._requeued.pop(run.uid, None)
        self._on_change(run, None)

    # What the dispatcher sets aside.

    def park(self, uid: str) -> None:
        """Leave a run out of what can be chosen, until `unpark`."""
        if uid not in self._parked and (run := self._runs.get(uid)) is not None:
            self._discard(run)
            self._parked.add(uid)
            self._add(run)

    def unpark(self, uid: str, key: QueueKey | None = None) -> None:
        """Let a run be chosen again, at its own place or behind `key`."""
        if uid in self._parked and (run := self._runs.get(uid)) is not None:
            self._discard(run)
            self._parked.discard(uid)
            if key is not None:
                self._requeued[uid] = key
            self._add(run)

    # Readiness.

    def set_ready(self, name: str, ready: bool) -> None:
        """Take in whether the workloads of this name are ready."""
        if ready == (name in self._ready_names):
            return
        if ready:
            self._ready_names.add(name)
            changed = self._blocked_on.get(name, ())
        else:
            self._ready_names.discard(name)
            changed = self._relying_on.get(name, ())
        for group in list(changed):
            blocked_by = self._first_unready(group.depends_on)
            if group.blocked_by is not None and blocked_by is not None:
                # It keeps its place in `blocked`: moving it costs as much as there are groups.
                _discard_from(self._blocked_on, group.blocked_by, group)
                group.blocked_by = blocked_by
                self._blocked_on.setdefault(blocked_by, set()).add(group)
                continue
            self._unindex(group)
            group.blocked_by = blocked_by
            self._index(group)

    def _first_unready(self, depends_on: DependsOn) -> str | None:
        if depends_on is None:
            return _UNREADABLE
        return next((name for name in depends_on if name not in self._ready_names), None)

    # What is known. Valid while the lock is held.

    def get(self, uid: str) -> Run | None:
        """The run, unless it is finished or gone."""
        return self._runs.get(uid)

    def definitions(self) -> Iterable[str]:
        """The definitions that have unfinished runs."""
        return self._queues.keys()

    def active(self, definition: str) -> int:
        """How many of its runs are neither queued nor finished."""
        queue = self._queues.get(definition)
        return len(queue.active) if queue else 0

    def queued(self, definition: str) -> int:
        """How many of its runs are queued."""
        queue = self._queues.get(definition)
        return queue.queued if queue else 0

    def startable(self) -> Iterable[str]:
        """The definitions that have runs which could start if they had a slot."""
        return [definition for definition, queue in self._queues.items() if queue.ready]

    def startable_runs(self, definition: str) -> Iterator[Run]:
        """These runs, in the order of the queue; the first ones cost little, however many there are."""
        queue = self._queues.get(definition)
        return _in_order(queue.ready) if queue else iter(())

    def blocked_runs(self, definition: str) -> Iterator[Run]:
        """Its runs that wait for dependencies, in the order of the queue."""
        queue = self._queues.get(definition)
        return _in_order(queue.blocked) if queue else iter(())

    def runs_set_aside(self, definition: str) -> list[Run]:
        """Its queued runs that are held, managed elsewhere or parked."""
        queue = self._queues.get(definition)
        return list(queue.aside.values()) if queue else []

    def may_start(self, run: Run) -> bool:
        """Whether a queued run's dependencies are ready and nothing else holds it."""
        return not run.held and not run.managed_elsewhere and self._first_unready(run.depends_on) is None

    def first_queued(self, most: int) -> Iterator[Run]:
        """The first so many queued runs of each definition that wait for the same, whatever that is."""
        for queue in self._queues.values():
            for group in queue.groups.values():
                yield from islice(group.runs, most)
            counts: Counter[tuple[DependsOn, bool, bool]] = Counter()
            for run in sorted(queue.aside.values(), key=queue_key):
                kind = (run.depends_on, run.held, run.managed_elsewhere)
                counts[kind] += 1
                if counts[kind] <= most:
                    yield run

    def oldest_queued_at(self, definition: str) -> int | None:
        """When the first run of its queue was queued, microseconds since the epoch; `None`: none is queued."""
        queue = self._queues.get(definition)
        if queue is None:
            return None
        heads = [heads[0][1].runs[0].queued_at for heads in (queue.ready, queue.blocked) if heads]
        return min([*heads, *(run.queued_at for run in queue.aside.values())], default=None)

    def starting(self) -> list[Run]:
        """The runs that must start in time, and of which nothing is known to be ready."""
        return list(self._starting.values())

    # The indices.

    def _key(self, run: Run) -> QueueKey:
        return self._requeued.get(run.uid) or queue_key(run)

    def _add(self, run: Run) -> None:
        if run.phase is Phase.FINISHED:
            return
        self._runs[run.uid] = run
        if run.pending_start is not None:
            self._starting[run.uid] = run
        queue = self._queues.get(run.definition)
        if queue is None:
            queue = self._queues[run.definition] = _Queue()
        if run.phase is Phase.ADMITTED:
            queue.active.add(run.uid)
            return
        queue.queued += 1
        if self._is_aside(run):
            queue.aside[run.uid] = run
            return
        group = queue.groups.get(run.depends_on)
        if group is None:
            group = queue.groups[run.depends_on] = _Group(run.definition, run.depends_on)
            group.blocked_by = self._first_unready(run.depends_on)
        key = self._key(run)
        at = bisect_left(group.keys, key)
        if at == 0:
            self._unindex(group)
        group.keys.insert(at, key)
        group.runs.insert(at, run)
        if at == 0:
            self._index(group)

    def _discard(self, run: Run) -> None:
        del self._runs[run.uid]
        self._starting.pop(run.uid, None)
        queue = self._queues[run.definition]
        if run.phase is Phase.ADMITTED:
            queue.active.discard(run.uid)
        else:
            queue.queued -= 1
            if self._is_aside(run):
                del queue.aside[run.uid]
            else:
                self._leave_group(queue, queue.groups[run.depends_on], run)
        if not queue.queued and not queue.active:
            del self._queues[run.definition]

    def _leave_group(self, queue: _Queue, group: _Group, run: Run) -> None:
        at = bisect_left(group.keys, self._key(run))
        if at == 0:
            self._unindex(group)
        del group.keys[at], group.runs[at]
        if not group.runs:
            del queue.groups[group.depends_on]
        elif at == 0:
            self._index(group)

    def _is_aside(self, run: Run) -> bool:
        return run.held or run.managed_elsewhere or run.uid in self._parked

    def _index(self, group: _Group) -> None:
        queue = self._queues[group.definition]
        if group.blocked_by is None:
            insort(queue.ready, (group.keys[0], group))
            for name in group.depends_on or ():
                self._relying_on.setdefault(name, set()).add(group)
        else:
            insort(queue.blocked, (group.keys[0], group))
            self._blocked_on.setdefault(group.blocked_by, set()).add(group)

    def _unindex(self, group: _Group) -> None:
        if not group.runs:
            return
        queue = self._queues[group.definition]
        heads = queue.ready if group.blocked_by is None else queue.blocked
        del heads[bisect_left(heads, group.keys[0], key=_key_of_head)]
        if group.blocked_by is None:
            for name in group.depends_on or ():
                _discard_from(self._relying_on, name, group)
        else:
            _discard_from(self._blocked_on, group.blocked_by, group)


def _key_of_head(head: tuple[QueueKey, _Group]) -> QueueKey:
    return head[0]


def _discard_from(index: dict[str, set[_Group]], name: str, group: _Group) -> None:
    groups = index.get(name)
    if groups is not None:
        groups.discard(group)
        if not groups:
            del index[name]


def _in_order(heads: _Heads) -> Iterator[Run]:
    """The runs of these groups in the order of the queue, each group's read only as far as it is asked for."""
    following: list[tuple[QueueKey, int, _Group]] = []  # the next run of each group that has been begun
    begun = 0
    while begun < len(heads) or following:
        if begun < len(heads) and (not following or heads[begun][0] < following[0][0]):
            index, group = 0, heads[begun][1]
            begun += 1
        else:
            _, index, group = heappop(following)
        yield group.runs[index]
        if index + 1 < len(group.runs):
            heappush(following, (group.keys[index + 1], index + 1, group))


class WorkloadStore:
    """The Deployments or the StatefulSets of the namespace, by name.

    Args:
        signal: see `RunStore`.
        on_change: called under the lock with each name whose workload has changed.
    """

    def __init__(self, signal: ChangeSignal, on_change: Callable[[str], None]) -> None:
        self._signal = signal
        self._on_change = on_change
        self._workloads: dict[str, Workload] = {}

    def replace(self, records: list[Workload], _version: int) -> None:
        """Hold these workloads and no others."""
        with self._signal.lock:
            before, self._workloads = self._workloads, {workload.name: workload for workload in records}
            for name in before.keys() | self._workloads.keys():
                self._on_change(name)
            self._signal.notify()

    def put(self, record: Workload) -> None:
        """Take in a workload."""
        with self._signal.lock:
            self._workloads[record.name] = record
            self._on_change(record.name)
            self._signal.notify()

    def remove(self, record: Workload) -> None:
        """Forget a workload that was deleted."""
        with self._signal.lock:
            if self._workloads.pop(record.name, None) is not None:
                self._on_change(record.name)
            self._signal.notify()

    def get(self, name: str) -> Workload | None:
        """The workload of this name."""
        return self._workloads.get(name)
