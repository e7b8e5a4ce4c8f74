"""The usage of the queues: the number of queued runs, their size in etcd, and the memory of their dependency lists."""

from collections import Counter
from dataclasses import dataclass, replace

from app.domain.run import DependsOn

_LIST_BYTES = 1024
"""The memory of a dependency list in the dispatcher without its names: a group of runs with its indices."""

_NAME_BYTES = 64
"""The memory of a name without its characters."""

_COPIES = 2
"""The dispatcher and the counter of queued runs each keep a copy of a list."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A run that is queued, is about to be queued, or has left the queue.

    Attributes:
        name: the Job's name.
        definition: from the Job's label.
        queued: whether the run is queued.
        size_kib: the approximate size of its Job in etcd.
        depends_on: its dependencies.
    """

    name: str
    definition: str
    queued: bool
    size_kib: int = 1
    depends_on: DependsOn = ()


class QueueUsage:
    """Adds up the usage of a set of runs.

    Attributes:
        runs: the number of runs by definition.
        size_kib: the size of their Jobs in etcd by definition.
        total_kib: the size of all Jobs in etcd.
        dependency_bytes: the memory of their dependency lists. Runs with equal lists share one.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.size_kib: Counter[str] = Counter()
        self.total_kib = 0
        self.dependency_bytes = 0
        self._lists: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}  # each list, and how many runs have it

    def add(self, job: QueuedJob) -> QueuedJob:
        """Add a run; return it with the dependency list that it shares with other runs."""
        self.runs[job.definition] += 1
        self.size_kib[job.definition] += job.size_kib
        self.total_kib += job.size_kib
        if not job.depends_on:
            return job
        shared, count = self._lists.get(job.depends_on, (job.depends_on, 0))
        self._lists[shared] = shared, count + 1
        if count == 0:
            self.dependency_bytes += _count_bytes(shared)
        return job if shared is job.depends_on else replace(job, depends_on=shared)

    def remove(self, job: QueuedJob) -> None:
        """Remove a run that was added before."""
        self.runs[job.definition] -= 1
        self.size_kib[job.definition] -= job.size_kib
        self.total_kib -= job.size_kib
        if not self.runs[job.definition]:  # so that made-up names in labels of Jobs take no memory
            del self.runs[job.definition], self.size_kib[job.definition]
        if job.depends_on:
            shared, count = self._lists.pop(job.depends_on)
            if count > 1:
                self._lists[shared] = shared, count - 1
            else:
                self.dependency_bytes -= _count_bytes(shared)

    def added_dependency_bytes(self, job: QueuedJob) -> int:
        """Return how many bytes the run's dependency list would add; 0: another run has an equal list."""
        return 0 if not job.depends_on or job.depends_on in self._lists else _count_bytes(job.depends_on)


def _count_bytes(names: tuple[str, ...]) -> int:
    return _LIST_BYTES + _COPIES * sum(len(name) + _NAME_BYTES for name in names)
