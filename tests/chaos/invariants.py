"""The counts: what callers were told, held against all that etcd has stored. Pure.

Everything is counted in the order of etcd's revisions, which is the order in which it happened, and not by any clock;
but for how long a watch may be silent before the dispatcher must have noticed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.callers import Told
from tests.chaos.history import LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion

NOTICED_SECONDS = 65.0
"""Of a watch that falls silent the dispatcher knows after 60 s, and a patch that it has sent takes 5 s at most
(`app/kube/reflector.py`, `app/kube/transport.py`)."""

_OFF_SECONDS = 60.0


@dataclass
class Counts:
    """What came of it. The first four are what must never be; each entry says what it is about.

    Attributes:
        lost: runs answered with 202 that were not stored, or not carried out to their end.
        doubled: calls that made two runs, runs that were started twice.
        over: definitions that had more runs active at once than slots, with the revision.
        early: runs that were started before what they depend on was ready.
        accepted: how many calls were answered with 202.
        in_doubt: how many calls without a key were left because nobody could say whether their run was stored.
        stored_in_doubt: how many of those runs were stored all the same, and carried out.
        replayed: how many answers came from an earlier try of the call.
        most_active: by definition, the most runs active at once.
        most_with_pods: by definition, the most runs at once that had a pod that had not ended.
        more_pods: runs that had more than one pod, which Kubernetes does not rule out:
            https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures
        off_clock: how many runs were accepted by a replica whose clock is more than a minute off.
        leaders: how often the dispatcher's Lease got another holder.
        late_news: how many runs were started when what they depend on had just become unready, and by how many seconds
            at most.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    accepted: int = 0
    in_doubt: int = 0
    stored_in_doubt: int = 0
    replayed: int = 0
    most_active: dict[str, int] = field(default_factory=dict)
    most_with_pods: dict[str, int] = field(default_factory=dict)
    more_pods: list[str] = field(default_factory=list)
    off_clock: int = 0
    leaders: int = 0
    late_news: tuple[int, float] = (0, 0.0)

    @property
    def broken(self) -> bool:
        """Whether something was that must never be."""
        return bool(self.lost or self.doubled or self.over or self.early)


@dataclass
class _Run:
    """One Job's whole life."""

    versions: list[RunVersion] = field(default_factory=list)
    starts: list[RunVersion] = field(default_factory=list)
    pods: set[str] = field(default_factory=set)

    @property
    def last(self) -> RunVersion:
        return self.versions[-1]


def tally(versions: Iterable[Version], told: Sequence[Told], slots: Mapping[str, int]) -> Counts:
    """Count.

    Args:
        versions: everything that was stored, in any order.
        told: what callers were told.
        slots: by definition.
    """
    in_order = sorted(versions, key=lambda version: version.revision)
    counts = Counts()
    runs = _lives(in_order)
    _count_active(in_order, slots, counts)
    _count_pods(in_order, slots, counts)
    _count_early(in_order, counts)
    _count_calls(runs, told, counts)
    return counts


def _lives(versions: Sequence[Version]) -> dict[str, _Run]:
    """Each Job's life by name; of two Jobs that bear a name one after the other, by name and uid."""
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
    counts.most_active = dict.fromkeys(slots, 0)
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
    counts.most_with_pods = dict.fromkeys(slots, 0)
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


def _count_early(versions: Sequence[Version], counts: Counts) -> None:
    """Count the starts while a dependency is unready, though the dispatcher could know.

    It could when the dependency has been unready ever since before this leader was elected, for a leader lists
    everything anew; and so in any case when it has never been ready before. And it could when that was longer ago than
    a watch may be silent. What is left is news on its way.
    """
    tides = _Tides()
    runs: dict[str, RunVersion] = {}
    holder, elected_at, late = "", 0, []
    for version in versions:
        match version:
            case LeaseVersion():
                if version.holder and version.holder != holder:
                    elected_at, counts.leaders = version.revision, counts.leaders + 1
                holder = version.holder
            case WorkloadVersion():
                tides.turn(version)
            case RunVersion():
                before = [runs[version.name]] if version.name in runs else []
                runs[version.name] = version
                if not _starts(before, version):
                    continue
                for name, since, moment in tides.out(version.depends_on):
                    age_seconds = version.seen_at - moment
                    if since < elected_at or age_seconds > NOTICED_SECONDS:
                        what = f"{name} is unready since {since}, the leader is there since {elected_at}"
                        counts.early.append(f"{version.name} at revision {version.revision}: {what}")
                    else:
                        late.append(age_seconds)
    counts.late_news = len(late), max(late, default=0.0)


class _Tides:
    """Which workloads are ready, and since when the others aren't."""

    def __init__(self) -> None:
        self._ready: set[str] = set()
        self._unready_since: dict[str, tuple[int, float]] = {}

    def turn(self, version: WorkloadVersion) -> None:
        if version.ready:
            self._ready.add(version.name)
        elif version.name in self._ready:
            self._ready.discard(version.name)
            self._unready_since[version.name] = version.revision, version.seen_at

    def out(self, names: Sequence[str]) -> Iterator[tuple[str, int, float]]:
        """Those that aren't ready, with the revision and the moment since when; 0: from the beginning."""
        for name in names:
            if name not in self._ready:
                yield name, *self._unready_since.get(name, (0, 0.0))


def _count_calls(runs: Mapping[str, _Run], told: Sequence[Told], counts: Counts) -> None:
    by_mark: dict[str, list[str]] = defaultdict(list)
    for key, run in runs.items():
        by_mark[run.versions[0].mark].append(key)
        if len(run.starts) > 1:
            counts.doubled.append(f"{key}: started at revisions {[start.revision for start in run.starts]}")
        if len(run.pods) > 1:
            counts.more_pods.append(f"{key}: {', '.join(sorted(run.pods))}")
        counts.off_clock += abs(run.versions[0].clock_off_seconds) > _OFF_SECONDS
    for one in told:
        _count_call(one, runs, by_mark[one.mark], counts)
    marks = {one.mark for one in told}
    counts.doubled += [
        f"{key}: nobody has called for it" for mark in by_mark if mark not in marks for key in by_mark[mark]
    ]


def _count_call(one: Told, runs: Mapping[str, _Run], keys: Sequence[str], counts: Counts) -> None:
    counts.accepted += bool(one.accepted)
    counts.replayed += one.replayed
    if len(keys) > 1:
        counts.doubled.append(f"{one.mark}: made the runs {', '.join(keys)}")
    if len(set(one.accepted)) > 1:
        counts.doubled.append(f"{one.mark}: was told of {', '.join(sorted(set(one.accepted)))}")
    for name in sorted(set(one.accepted)):
        run = runs.get(name)
        if run is None or name not in keys:
            counts.lost.append(f"{name}: {one.mark} was answered with 202 and is not what was stored under that name")
        elif run.last.gone:
            counts.lost.append(f"{name}: was deleted, by none of us")
        elif run.last.end != "Complete":
            counts.lost.append(f"{name}: {run.last.end or 'never came to its end'}")
        elif not run.starts:
            counts.lost.append(f"{name}: ended without a start")
    if not one.accepted and not one.keyed:
        counts.in_doubt += bool(one.in_doubt)
        counts.stored_in_doubt += bool(one.in_doubt and keys)
