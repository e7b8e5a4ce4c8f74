"""What the leader knows of the cluster's runs: every unfinished one, in its queue.

The store is kept up to date by a reflector and by the answers to our own writes. Records are compared by
resourceVersion, so the order in which both arrive does not matter.
"""

from collections.abc import Callable, Collection, Iterator

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.queue_deadlines import QueueDeadlines
from app.dispatcher.queues import QueueKey, Queues
from app.dispatcher.undelivered import UndeliveredRuns
from app.domain.run import Phase, Run, queue_key


class RunStore(Queues):
    """Every unfinished run in the namespace, by definition. A finished one is not held, unless its end is to be told.

    Args:
        signal: whose lock guards this store, and which is notified of changes.
        on_change: called under the lock with a run as it was known and as it is now. The first is `None` for a new
            run, the second for one that is gone.
        on_rewind: called when a list is older than what was known: etcd has been restored.

    Attributes:
        undelivered: the finished runs whose end is to be told.
    """

    def __init__(
        self,
        signal: ChangeSignal,
        on_change: Callable[[Run | None, Run | None], None] = lambda _before, _after: None,
        on_rewind: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._signal = signal
        self._on_change = on_change
        self._on_rewind = on_rewind
        self._runs: dict[str, Run] = {}
        self._starting: dict[str, Run] = {}
        self._parked: set[str] = set()
        self._requeued: dict[str, QueueKey] = {}
        self._refused_schedules: Collection[str] | None = frozenset()
        self._version = 0
        self._queue_deadlines = QueueDeadlines()
        self.undelivered = UndeliveredRuns()

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
            self._starting, self._queue_deadlines = {}, QueueDeadlines()
            self.undelivered = UndeliveredRuns()
            self._clear()
            for run in sorted(records, key=self._key):
                held = known.pop(run.uid, None)
                keep = held is not None and not rewound and held.resource_version > version
                self._take_in(held, held if held is not None and keep else run)
            for gone in known.values():
                self._forget(gone)
            self.undelivered.sort()
            if rewound:
                self._on_rewind()
            self._signal.notify()

    def put(self, record: Run) -> None:
        """Store a run from the watch, unless a later version of it is known."""
        with self._signal.lock:
            self._version = max(self._version, record.resource_version)
            self._put(record)

    def update(self, record: Run) -> None:
        """Store a later version of a known run. A run that is gone by now stays gone."""
        with self._signal.lock:
            if record.uid in self._runs:
                self._put(record)

    def remove(self, record: Run) -> None:
        """Forget a run that was deleted or lost our labels, unless a later version of it is known."""
        with self._signal.lock:
            self._version = max(self._version, record.resource_version)
            self.undelivered.discard(record.uid)
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

    # Parking.

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

    # Schedules that requests have made.

    def refuse_schedules(self, names: Collection[str] | None) -> None:
        """Leave out of what can be chosen the runs of these schedules, which their definitions do not allow now.

        The caller holds the lock.

        Args:
            names: of their CronJobs; `None`: it is not known yet which, so the runs of all of them are left out.
        """
        if names == self._refused_schedules:
            return
        moved = [
            run
            for run in self._runs.values()
            if run.requested_schedule and (names is None or run.requested_schedule in names) != self.is_refused(run)
        ]
        for run in moved:
            self._discard(run)
        self._refused_schedules = names
        for run in moved:
            self._add(run)
        if moved:
            self._signal.notify()

    @property
    def refused_schedules(self) -> Collection[str] | None:
        """See `refuse_schedules`."""
        return self._refused_schedules

    def is_refused(self, run: Run) -> bool:
        """Whether a run's schedule is refused, or nobody knows yet."""
        names = self._refused_schedules
        return bool(run.requested_schedule) and (names is None or run.requested_schedule in names)

    def may_start(self, run: Run) -> bool:
        """Whether a queued run's dependencies are ready and nothing else holds it."""
        return super().may_start(run) and not self.is_refused(run)

    # What is known. Valid while the lock is held.

    def get(self, uid: str) -> Run | None:
        """The run, unless it is finished or gone."""
        return self._runs.get(uid)

    def overdue(self, now: int) -> Iterator[Run]:
        """Yield the queued runs whose deadline is over, the earliest first.

        Args:
            now: microseconds since the epoch, by the API server's clock.
        """
        return (self._runs[uid] for uid in self._queue_deadlines.overdue(now))

    def starting(self) -> list[Run]:
        """The admitted runs that have no ready pod, as far as their Jobs tell."""
        return list(self._starting.values())

    # Adding and removing.

    def _key(self, run: Run) -> QueueKey:
        return self._requeued.get(run.uid) or queue_key(run)

    def _is_excluded(self, run: Run) -> bool:
        return run.held or run.managed_elsewhere or run.uid in self._parked or self.is_refused(run)

    def _add(self, run: Run) -> None:
        if run.phase is Phase.FINISHED:
            if run.end is not None:
                self.undelivered.put(run)
            return
        run = self._share_list(run)
        self._runs[run.uid] = run
        if run.pending_start is not None:
            self._starting[run.uid] = run
        if run.phase is Phase.QUEUED:
            self._queue_deadlines.add(run)
        self._enqueue(run, excluded=self._is_excluded(run))

    def _discard(self, run: Run) -> None:
        del self._runs[run.uid]
        self._starting.pop(run.uid, None)
        if run.phase is Phase.QUEUED:
            self._queue_deadlines.discard(run)
        self._dequeue(run, excluded=self._is_excluded(run))
