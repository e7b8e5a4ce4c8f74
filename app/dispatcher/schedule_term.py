"""What a leader knows in one term of the CronJobs of schedules, kept up to date by a watch and by its own writes.

Answers and events arrive in any order. An answer counts only if the watch has shown no later version of the CronJob,
and no later deletion.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from app.common.backoff_table import BackoffTable
from app.common.types import Json
from app.domain.schedule import StoredSchedule
from app.kube.errors import ClusterError
from app.kube.schedule_records import Target
from app.kube.shared_watch import Follower
from schemas.definition import Definition

_FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 300.0
"""How long a schedule is left alone after a failed write. A refusal may last."""


class SeenCronJob(NamedTuple):
    """A CronJob as the watch brings it.

    Attributes:
        name: its name.
        version: its resourceVersion.
        stored: its record; `None`: it is no schedule.
    """

    name: str
    version: int
    stored: StoredSchedule | None


class ScheduleTerm:
    """What the leader knows in one term. The store of the watch.

    Args:
        changed: notified of changes; its lock guards what the watch writes.
        judge: makes a record of a CronJob.

    Attributes:
        definitions: those in force when `targets` was made.
        targets: what the configuration asks for, by the name of the CronJob.
        joined: whether the CronJobs are watched.
        is_filled: whether they have been read since.
        is_listing: whether they are to be read again, because definitions have changed.
        refusals: how often the API server has refused to let them be read since they were read last.
        has_news: whether the watch has brought something.
        stored: the schedules that exist, by the name of the CronJob.
        gone_at: the resourceVersions at which the watch has shown schedules to be gone, since the current step was
            planned, by the name of the CronJob.
        listed_at: the resourceVersion of a list that has come since then; 0: none.
        checked: see `Known`.
        deleted: see `Known`.
        untold: the schedules whose deletion is still to be told.
        own_deletions: the uids of CronJobs that this service has deleted, or whose deletion had begun before the term.
        taken: the uid of the CronJob that has a schedule's name, by that name.
        refused: the API server's words about a write that it did not accept, by the name of the CronJob.
        backoffs: by the name of the CronJob.
        failed_at: when the last write of each CronJob failed, unless one has succeeded since.
        stuck_at: the CronJob whose write was the last one, if the API server did not carry it out; empty: it did.
    """

    def __init__(self, changed: threading.Condition, judge: Callable[[Json], StoredSchedule | None]) -> None:
        self._changed = changed

        def read(item: Json) -> SeenCronJob:
            return SeenCronJob(item["metadata"]["name"], int(item["metadata"]["resourceVersion"]), judge(item))

        self.follower: Follower[SeenCronJob] = Follower(read, self)
        self.follower.on_refused = self._note_refused
        self.definitions: list[Definition] = []
        self.targets: Mapping[str, Target] = {}
        self.joined = False
        self.is_filled = False
        self.is_listing = False
        self.refusals = 0
        self.has_news = False
        self.stored: dict[str, StoredSchedule] = {}
        self.gone_at: dict[str, int] = {}
        self.listed_at = 0
        self.checked: dict[str, tuple[str, str]] = {}
        self.deleted: dict[str, str] = {}
        self.untold: list[StoredSchedule] = []
        self.own_deletions: set[str] = set()
        self.taken: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.backoffs = BackoffTable[str](_FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS)
        self.failed_at: dict[str, float] = {}
        self.stuck_at = ""
        self._own_writes: dict[str, int] = {}  # resourceVersions that the watch has not shown yet, by name
        self._shown_at = 0  # the latest resourceVersion that the watch or a list has shown

    def is_idle(self) -> bool:
        """Return whether there is nothing to keep."""
        with self._changed:
            return self.is_filled and not self.targets and not self.stored and not self.untold

    def leave(self) -> None:
        """Begin anew when CronJobs are watched again."""
        with self._changed:
            self.joined = self.is_filled = self.is_listing = False
            self.refusals = 0
            self.stored = {}

    def fail(self, name: str, now: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> None:
        """Leave a schedule alone for a while, because a write has failed; see `BackoffTable`."""
        self.backoffs.fail(name, now, at_least=at_least, at_most=at_most)
        self.failed_at[name] = now

    def begin_step(self) -> None:
        """Forget what only the answers to an earlier step have to be compared with. The caller holds the lock."""
        self.gone_at, self.listed_at = {}, 0

    def keep(self, stored: StoredSchedule | None, *, written: bool = False) -> bool:
        """Hold a schedule as it was read or written, unless the watch has shown a later version, or that it is gone.

        Returns:
            Whether it exists, as far as is known now.
        """
        if stored is None:
            return False
        with self._changed:
            version, known = int(stored.resource_version), self.stored.get(stored.name)
            if known is None and version <= self.gone_at.get(stored.name, 0):
                return False
            if known is None and version <= self.listed_at:
                if written:  # it was created and deleted before that list, so the watch has shown neither
                    self._note_gone(stored)
                return False
            known_version = 0 if known is None else int(known.resource_version)
            if known_version <= version:
                self.stored[stored.name] = stored
                if written and known_version < version:  # else the watch has shown it already
                    self._own_writes[stored.name] = version
            return True

    def note_deletion(self, stored: StoredSchedule) -> None:
        """Hold a schedule that was just deleted no longer as one that exists."""
        with self._changed:
            known = self.stored.get(stored.name)
            if known is not None and known.uid == stored.uid:
                del self.stored[stored.name]

    # The store of the watch.

    def replace(self, records: Iterable[SeenCronJob], version: int) -> None:
        """Hold these schedules and no others, but for what was written after the list was made."""
        with self._changed:
            was_restored = version < self._shown_at  # etcd was, and what was written after this list is taken back
            if was_restored:
                self._own_writes, self.gone_at = {}, {}
            self._own_writes = {name: own for name, own in self._own_writes.items() if own > version}
            before, self.listed_at, self._shown_at = self.stored, version, version
            self.stored = {seen.name: seen.stored for seen in records if seen.stored is not None}
            if not self.is_filled:
                self.own_deletions |= {one.uid for one in self.stored.values() if one.being_deleted}
            for name in self.stored:
                self.deleted.pop(name, None)  # somebody has made it again
            for name, stored in before.items():
                if name in self.stored:
                    continue
                if name in self._own_writes:
                    self.stored[name] = stored
                elif not was_restored:
                    self.gone_at[name] = version
                    self._note_gone(stored)
            self.is_filled, self.is_listing, self.refusals = True, False, 0
            self._notify()

    def put(self, record: SeenCronJob) -> None:
        """Hold this schedule, which may be new or changed."""
        with self._changed:
            self._shown_at = max(self._shown_at, record.version)
            known = self.stored.get(record.name)
            if record.stored is None:
                self.gone_at[record.name] = record.version
                if known is not None:
                    del self.stored[record.name]  # somebody has taken its labels away
                    self._notify()
                return
            if known is not None and int(known.resource_version) > int(record.stored.resource_version):
                return
            self._own_writes.pop(record.name, None)
            self.deleted.pop(record.name, None)  # somebody has made it again
            self.stored[record.name] = record.stored
            self._notify()

    def remove(self, record: SeenCronJob) -> None:
        """Hold this schedule no longer."""
        with self._changed:
            self._shown_at = max(self._shown_at, record.version)
            self.gone_at[record.name] = record.version
            self.taken.pop(record.name, None)
            self.failed_at.pop(record.name, None)
            if record.name in self.targets:
                self.backoffs.succeed(record.name)  # whose name it was, it is free now
            known = self.stored.get(record.name)
            if record.stored is not None and (known is None or known.uid == record.stored.uid):
                self.stored.pop(record.name, None)
                self._note_gone(record.stored)
            self._notify()

    def _note_gone(self, record: StoredSchedule) -> None:
        if record.uid in self.own_deletions:
            self.own_deletions.discard(record.uid)
        elif record.configured and record.name in self.targets:
            self.deleted[record.name] = self.targets[record.name].applied
            self.untold.append(record)

    def _note_refused(self, _error: ClusterError) -> None:
        with self._changed:
            self.refusals += 1
            self._notify()

    def _notify(self) -> None:
        self.has_news = True
        self._changed.notify()
