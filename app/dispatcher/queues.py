"""The queues: which runs of each definition could start, and in which order.

Runs that depend on the same workloads form a group, and each group is indexed by the first of its dependencies that
isn't ready. So the cost of a change hardly depends on how many runs wait.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from heapq import heappop, heappush

from app.domain.run import DependsOn, Phase, Run, queue_key

QueueKey = tuple[int, str]

_UNREADABLE = "\0"
"""Stands for a dependency list that can't be read: no workload has this name, so it is never ready."""


class _Group:
    """Queued runs of one definition that depend on the same workloads, in the order of the queue.

    Attributes:
        blocked_by: the first dependency that isn't ready; `None`: the group's runs could start.
    """

    __slots__ = ("blocked_by", "definition", "depends_on", "runs")

    def __init__(self, definition: str, depends_on: DependsOn) -> None:
        self.definition = definition
        self.depends_on = depends_on
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
        excluded: queued runs that are not to be chosen: held, managed elsewhere, parked, or of a refused schedule.
        queued: how many runs are queued.
    """

    __slots__ = ("active", "blocked", "excluded", "groups", "queued", "ready")

    def __init__(self) -> None:
        self.active: set[str] = set()
        self.groups: dict[DependsOn, _Group] = {}
        self.ready: _Heads = []
        self.blocked: _Heads = []
        self.excluded: dict[str, Run] = {}
        self.queued = 0


class Queues:
    """The unfinished runs of a namespace in their queues, and which workloads are ready.

    Not safe to share between threads: a subclass has the lock.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._ready_names: set[str] = set()
        self._blocked_on: dict[str, set[_Group]] = {}
        self._relying_on: dict[str, set[_Group]] = {}

    # What is known.

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
        """The definition's runs that could start, in the order of the queue. The first ones cost little to find."""
        queue = self._queues.get(definition)
        return self._in_order(queue.ready) if queue else iter(())

    def blocked_runs(self, definition: str) -> Iterator[Run]:
        """Its runs that wait for dependencies, in the order of the queue."""
        queue = self._queues.get(definition)
        return self._in_order(queue.blocked) if queue else iter(())

    def excluded_runs(self, definition: str) -> list[Run]:
        """Its queued runs that are not to be chosen: held, managed elsewhere, parked, or of a refused schedule."""
        queue = self._queues.get(definition)
        return list(queue.excluded.values()) if queue else []

    def may_start(self, run: Run) -> bool:
        """Whether a queued run's dependencies are ready and nothing else holds it."""
        return not run.held and not run.managed_elsewhere and self._first_unready(run.depends_on) is None

    def first_unready(self, run: Run) -> str | None:
        """The first of a queued run's dependencies that isn't ready; `None`: all are."""
        return self._first_unready(run.depends_on)

    def first_queued(self, most: int) -> Iterator[Run]:
        """The first queued runs of each group, whatever the group waits for.

        At most `most` of a group that no request's schedule has made, and of each such schedule: another dispatcher
        may have left out the runs of other schedules than this one does.
        """
        for queue in self._queues.values():
            for group in queue.groups.values():
                made_by: Counter[str] = Counter()
                for run in group.runs:
                    made_by[run.requested_schedule] += 1
                    if made_by[run.requested_schedule] <= most:
                        yield run
            counts: Counter[tuple[DependsOn, bool, bool, str]] = Counter()
            for run in sorted(queue.excluded.values(), key=queue_key):
                kind = (run.depends_on, run.held, run.managed_elsewhere, run.requested_schedule)
                counts[kind] += 1
                if counts[kind] <= most:
                    yield run

    def oldest_queued_at(self, definition: str) -> int | None:
        """When the first run of its queue was queued, microseconds since the epoch; `None`: none is queued."""
        queue = self._queues.get(definition)
        if queue is None:
            return None
        heads = [heads[0][1].runs[0].queued_at for heads in (queue.ready, queue.blocked) if heads]
        return min([*heads, *(run.queued_at for run in queue.excluded.values())], default=None)

    # Readiness.

    def set_ready(self, name: str, ready: bool) -> None:
        """Record whether the workloads of this name are ready."""
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

    # The indices.

    def _clear(self) -> None:
        """Forget every run. Which workloads are ready stays known."""
        self._queues, self._blocked_on, self._relying_on = {}, {}, {}

    def _share_list(self, run: Run) -> Run:
        """Return the run with the list of dependencies of its group: all runs of a group keep one in memory."""
        queue = self._queues.get(run.definition)
        group = None if queue is None else queue.groups.get(run.depends_on)
        if group is None or group.depends_on is run.depends_on:
            return run
        return replace(run, depends_on=group.depends_on)

    def _key(self, run: Run) -> QueueKey:
        """Return a run's place in its queue, which stays the same while the run is in it."""
        return queue_key(run)

    def _enqueue(self, run: Run, *, excluded: bool) -> None:
        """Add an unfinished run.

        Args:
            run: queued or admitted.
            excluded: whether it is not to be chosen; see `_Queue`.
        """
        queue = self._queues.get(run.definition)
        if queue is None:
            queue = self._queues[run.definition] = _Queue()
        if run.phase is Phase.ADMITTED:
            queue.active.add(run.uid)
            return
        queue.queued += 1
        if excluded:
            queue.excluded[run.uid] = run
            return
        group = queue.groups.get(run.depends_on)
        if group is None:
            group = queue.groups[run.depends_on] = _Group(run.definition, run.depends_on)
            group.blocked_by = self._first_unready(run.depends_on)
        at = self._find(group, run)
        if at == 0:
            self._unindex(group)
        group.runs.insert(at, run)
        if at == 0:
            self._index(group)

    def _dequeue(self, run: Run, *, excluded: bool) -> None:
        """Remove a run that was added with these arguments."""
        queue = self._queues[run.definition]
        if run.phase is Phase.ADMITTED:
            queue.active.discard(run.uid)
        else:
            queue.queued -= 1
            if excluded:
                del queue.excluded[run.uid]
            else:
                self._leave_group(queue, queue.groups[run.depends_on], run)
        if not queue.queued and not queue.active:
            del self._queues[run.definition]

    def _find(self, group: _Group, run: Run) -> int:
        """Return where in its group a run is, or belongs."""
        return bisect_left(group.runs, self._key(run), key=self._key)

    def _leave_group(self, queue: _Queue, group: _Group, run: Run) -> None:
        at = self._find(group, run)
        if at == 0:
            self._unindex(group)
        del group.runs[at]
        if not group.runs:
            del queue.groups[group.depends_on]
        elif at == 0:
            self._index(group)

    def _index(self, group: _Group) -> None:
        queue = self._queues[group.definition]
        if group.blocked_by is None:
            insort(queue.ready, (self._key(group.runs[0]), group))
            for name in group.depends_on or ():
                self._relying_on.setdefault(name, set()).add(group)
        else:
            insort(queue.blocked, (self._key(group.runs[0]), group))
            self._blocked_on.setdefault(group.blocked_by, set()).add(group)

    def _unindex(self, group: _Group) -> None:
        if not group.runs:
            return
        queue = self._queues[group.definition]
        heads = queue.ready if group.blocked_by is None else queue.blocked
        del heads[bisect_left(heads, self._key(group.runs[0]), key=_key_of_head)]
        if group.blocked_by is None:
            for name in group.depends_on or ():
                _discard_from(self._relying_on, name, group)
        else:
            _discard_from(self._blocked_on, group.blocked_by, group)

    def _in_order(self, heads: _Heads) -> Iterator[Run]:
        """Yield the runs of these groups in the order of the queue. A group is read only as far as needed."""
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
                heappush(following, (self._key(group.runs[index + 1]), index + 1, group))


def _key_of_head(head: tuple[QueueKey, _Group]) -> QueueKey:
    return head[0]


def _discard_from(index: dict[str, set[_Group]], name: str, group: _Group) -> None:
    groups = index.get(name)
    if groups is not None:
        groups.discard(group)
        if not groups:
            del index[name]
