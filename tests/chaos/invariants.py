"""Check the invariants: compare the callers' records with everything that etcd has stored. Pure functions.

Everything is counted in the order of etcd's revisions, the order in which it happened. A clock is used only to measure
how old a dispatcher's view of a dependency was, and whether a request came before a restore of etcd.

A restore undoes what was stored after its snapshot, and the service can't help that. So what is lost is counted against
what etcd holds in the end, and everything else in each branch of the history: as if the restore had never happened, and
as if what it undid had never happened.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.callers import CallRecord
from tests.chaos.history import NOBODY, Branch, LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion

NOTICED_SECONDS = 65.0
"""The dispatcher abandons a silent watch after 60 s, and a patch takes 5 s at most (`app/kube/reflector.py`,
`app/kube/transport.py`)."""

_OFF_SECONDS = 60.0


@dataclass
class Counts:
    """The result of a run. The first four lists are violations; each entry is a message.

    Attributes:
        lost: runs with a 202 response that were not stored or did not complete, unless a restore undid them.
        doubled: calls that created two runs, and runs that were started twice.
        over: definitions that had more active runs than slots, with the revision.
        early: runs that were started although the dispatcher could know that a dependency was unready.
        accepted: the number of calls with a 202 response.
        undone: runs with a 202 response that a restore of etcd undid.
        restores: the number of restores.
        in_doubt: the number of calls without a key that were abandoned because their outcome was unknown.
        stored_in_doubt: the number of those calls whose run was stored.
        replayed: the number of responses that replayed an earlier attempt.
        most_active: by definition, the highest number of active runs.
        most_with_pods: by definition, the highest number of runs with a pod that had not ended.
        more_pods: runs that had more than one pod, which Kubernetes does not rule out:
            https://kubernetes.io/docs/concepts/readiness/controllers/job/#handling-pod-and-container-failures
        off_clock: the number of runs accepted by a replica whose clock is off by more than a minute.
        leaders: the number of times that the dispatcher's Lease got a new holder.
        stale_starts: the number of runs that were started shortly after a dependency became unready, and the highest
            age of that change in seconds.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    accepted: int = 0
    undone: list[str] = field(default_factory=list)
    restores: int = 0
    in_doubt: int = 0
    stored_in_doubt: int = 0
    replayed: int = 0
    most_active: dict[str, int] = field(default_factory=dict)
    most_with_pods: dict[str, int] = field(default_factory=dict)
    more_pods: list[str] = field(default_factory=list)
    off_clock: int = 0
    leaders: int = 0
    stale_starts: tuple[int, float] = (0, 0.0)

    @property
    def broken(self) -> bool:
        """Whether an invariant was violated."""
        return bool(self.lost or self.doubled or self.over or self.early)


@dataclass
class _Run:
    """All versions of one Job."""

    versions: list[RunVersion] = field(default_factory=list)
    starts: list[RunVersion] = field(default_factory=list)
    pods: set[str] = field(default_factory=set)

    @property
    def last(self) -> RunVersion:
        return self.versions[-1]


def check_invariants(branches: Sequence[Branch], records: Sequence[CallRecord], slots: Mapping[str, int]) -> Counts:
    """Check all invariants.

    Args:
        branches: everything that was stored, up to each restore and up to the end.
        records: the callers' records.
        slots: the number of slots by definition.
    """
    counts = Counts(restores=len(branches) - 1)
    counts.most_active, counts.most_with_pods = dict.fromkeys(slots, 0), dict.fromkeys(slots, 0)
    elected, stale = set[LeaseVersion](), dict[RunVersion, float]()
    grouped = []
    for branch in branches:
        in_order = sorted(branch.versions, key=lambda version: version.revision)
        runs = _group_by_run(in_order)
        grouped.append(runs)
        _count_active(in_order, slots, counts)
        _count_pods(in_order, slots, counts)
        _count_early(in_order, counts, elected, stale)
        _count_doubled(runs, records, counts)
    counts.leaders = len(elected)
    counts.stale_starts = len(stale), max(stale.values(), default=0.0)
    _count_calls(grouped[-1], records, counts)
    undone_at = {
        (name, run.versions[0].mark): branch.ended_at
        for branch, runs in zip(branches[:-1], grouped[:-1], strict=True)
        for name, run in runs.items()
        if name not in grouped[-1]
    }
    for one in records:
        _count_lost(one, grouped[-1], undone_at, counts)
    # What happened before a snapshot is in several branches.
    counts.doubled, counts.early = list(dict.fromkeys(counts.doubled)), list(dict.fromkeys(counts.early))
    return counts


def _group_by_run(versions: Sequence[Version]) -> dict[str, _Run]:
    """Group the versions by Job name; a later Job with the same name is keyed by name and uid."""
    runs: dict[str, _Run] = {}
    present: dict[str, str] = {}
    for version in versions:
        if isinstance(version, PodVersion):
            if version.run in present and not version.gone:
                runs[present[version.run]].pods.add(version.name)
            continue
        if not isinstance(version, RunVersion):
            continue
        key = present.get(version.name)
        if key is None or (version.uid and runs[key].last.uid not in ("", version.uid)):
            key = version.name if version.name not in runs else f"{version.name} ({version.uid})"
            present[version.name] = key
        run = runs.setdefault(key, _Run())
        if _starts(run.versions, version):
            run.starts.append(version)
        run.versions.append(version)
        if version.gone:
            del present[version.name]
    return runs


def _starts(before: Sequence[RunVersion], version: RunVersion) -> bool:
    return not version.gone and not version.suspended and (not before or before[-1].suspended)


def _count_active(versions: Sequence[Version], slots: Mapping[str, int], counts: Counts) -> None:
    active: dict[str, set[str]] = defaultdict(set)
    definitions: dict[str, str] = {}
    for version in versions:
        if not isinstance(version, RunVersion):
            continue
        definition = definitions.setdefault(version.name, version.definition)
        (active[definition].add if version.active else active[definition].discard)(version.name)
        now = len(active[definition])
        if now > counts.most_active.get(definition, 0):
            counts.most_active[definition] = now
            if now > slots.get(definition, 0):
                counts.over.append(f"{definition}: {now} active at revision {version.revision}, with {version.name}")


def _count_pods(versions: Sequence[Version], slots: Mapping[str, int], counts: Counts) -> None:
    alive: dict[str, dict[str, str]] = defaultdict(dict)  # by definition: pod -> run
    owners: dict[str, tuple[str, str]] = {}
    for version in versions:
        if not isinstance(version, PodVersion):
            continue
        definition, run = owners.setdefault(version.name, (version.definition, version.run))
        if definition not in slots:
            continue
        if version.alive:
            alive[definition][version.name] = run
        else:
            alive[definition].pop(version.name, None)
        now = len(set(alive[definition].values()))
        if now > counts.most_with_pods[definition]:
            counts.most_with_pods[definition] = now
            if now > slots[definition]:
                counts.over.append(f"{definition}: {now} runs with pods at revision {version.revision}, with {run}")


def _count_early(
    versions: Sequence[Version], counts: Counts, elected: set[LeaseVersion], stale: dict[RunVersion, float]
) -> None:
    """Find the starts with an unready dependency where the dispatcher could know that it was unready.

    It could know in two cases: the dependency has been unready (or has never been ready) since before this leader was
    elected, because a new leader lists everything; or it has been unready for longer than a watch may be silent. All
    other starts are counted as stale: the event was still on its way. Leaders are added to `elected`, stale starts and
    their ages to `stale`.
    """
    readiness = _WorkloadReadiness()
    runs: dict[str, RunVersion] = {}
    holder, elected_at = "", 0
    for version in versions:
        match version:
            case LeaseVersion():
                if version.holder == NOBODY:  # edited by hand: nobody is elected
                    continue
                if version.holder and version.holder != holder:
                    elected_at = version.revision
                    elected.add(version)
                holder = version.holder
            case WorkloadVersion():
                readiness.update(version)
            case RunVersion():
                before = [runs[version.name]] if version.name in runs else []
                runs[version.name] = version
                if not _starts(before, version):
                    continue
                for name, since, moment in readiness.unready(version.depends_on):
                    age_seconds = version.seen_at - moment
                    if since < elected_at or age_seconds > NOTICED_SECONDS:
                        what = f"{name} is unready since revision {since}, the leader was elected at {elected_at}"
                        counts.early.append(f"{version.name} at revision {version.revision}: {what}")
                    else:
                        stale[version] = max(age_seconds, stale.get(version, 0.0))


class _WorkloadReadiness:
    """The ready workloads, and since when the others are unready."""

    def __init__(self) -> None:
        self._ready: set[str] = set()
        self._unready_since: dict[str, tuple[int, float]] = {}

    def update(self, version: WorkloadVersion) -> None:
        if version.ready:
            self._ready.add(version.name)
        elif version.name in self._ready:
            self._ready.discard(version.name)
            self._unready_since[version.name] = version.revision, version.seen_at

    def unready(self, names: Sequence[str]) -> Iterator[tuple[str, int, float]]:
        """Yield the unready ones, with the revision and time since when; 0 for always."""
        for name in names:
            if name not in self._ready:
                yield name, *self._unready_since.get(name, (0, 0.0))


def _count_doubled(runs: Mapping[str, _Run], records: Sequence[CallRecord], counts: Counts) -> None:
    by_mark = _group_by_mark(runs)
    for key, run in runs.items():
        if len(run.starts) > 1:
            counts.doubled.append(f"{key}: started at revisions {[start.revision for start in run.starts]}")
    for one in records:
        if len(by_mark[one.mark]) > 1:
            counts.doubled.append(f"{one.mark}: created the runs {', '.join(by_mark[one.mark])}")
        if len(set(one.accepted)) > 1:
            counts.doubled.append(f"{one.mark}: got the names {', '.join(sorted(set(one.accepted)))}")
    marks = {one.mark for one in records}
    counts.doubled += [f"{key}: no call created it" for mark in by_mark if mark not in marks for key in by_mark[mark]]


def _group_by_mark(runs: Mapping[str, _Run]) -> dict[str, list[str]]:
    by_mark: dict[str, list[str]] = defaultdict(list)
    for key, run in runs.items():
        by_mark[run.versions[0].mark].append(key)
    return by_mark


def _count_calls(runs: Mapping[str, _Run], records: Sequence[CallRecord], counts: Counts) -> None:
    by_mark = _group_by_mark(runs)
    for key, run in runs.items():
        if len(run.pods) > 1:
            counts.more_pods.append(f"{key}: {', '.join(sorted(run.pods))}")
        counts.off_clock += abs(run.versions[0].clock_off_seconds) > _OFF_SECONDS
    for one in records:
        counts.accepted += bool(one.accepted)
        counts.replayed += one.replayed
        if not one.accepted and not one.keyed:
            counts.in_doubt += bool(one.in_doubt)
            counts.stored_in_doubt += bool(one.in_doubt and by_mark[one.mark])


def _count_lost(
    one: CallRecord, runs: Mapping[str, _Run], undone_at: Mapping[tuple[str, str], float], counts: Counts
) -> None:
    """Count what a call was promised and etcd doesn't hold.

    Args:
        one: the call.
        runs: what etcd holds in the end.
        undone_at: when a restore undid a run, by name and mark. A response to a later request was about another run.
        counts: where to count.
    """
    for name in sorted(set(one.accepted)):
        run = runs.get(name)
        if run is None and one.asked_at.get(name, math.inf) < undone_at.get((name, one.mark), -math.inf):
            counts.undone.append(name)
        elif run is None or run.versions[0].mark != one.mark:
            counts.lost.append(f"{name}: {one.mark} got 202, but its run is not stored under that name")
        elif run.last.gone:
            counts.lost.append(f"{name}: was deleted, although nobody asked for that")
        elif run.last.end != "Complete":
            counts.lost.append(f"{name}: {run.last.end or 'did not end'}")
        elif not run.starts:
            counts.lost.append(f"{name}: ended without a start")
