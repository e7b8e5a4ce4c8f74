"""The status of definitions: how many runs are queued and active, and whether the dependencies are ready."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.common.concurrency_limiter import BusyError
from app.common.types import Json
from app.domain.names import id_in
from app.domain.readiness import assess
from app.domain.run import Phase, Run
from app.domain.workload import Workload
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ForbiddenError
from app.kube.parsing import read_run, read_time, read_workload
from app.runs.listing import is_addressable
from app.runs.schedules.view import list_missing, summarize_schedule
from schemas.definition import Definition
from schemas.definition_status import DefinitionScheduleView, DefinitionView, DependencyView, RunningJobView
from schemas.request import REQUEST_FIELDS
from schemas.run import Resources, Status

log = logging.getLogger(__name__)

_FRESH_SECONDS = 1.0
"""How long one reading of the cluster serves later requests."""

_SCHEDULES_FRESH_SECONDS = 10.0
"""The same for schedules, which change seldom, and may be large."""

_TURN_SECONDS = 10.0
"""How long a request waits while another one reads. Without the API server, they fail one after the other."""


_MAX_RUNNING_JOBS = 100
"""How many active runs of a definition are shown, so that neither memory nor the response grows with the slots."""

_MAX_SCHEDULES = 100
"""How many schedules of a definition are shown, for the same reason."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The state of the cluster at one moment.

    Attributes:
        until: when the snapshot expires.
        phases: how many runs of each definition are in each phase.
        running_jobs: active runs of each definition, at most `_MAX_RUNNING_JOBS`, the oldest first.
        schedules: of each definition, at most `_MAX_SCHEDULES`, the next one first.
        dependencies: the names of the dependencies that were looked up.
        workloads: the Deployments and StatefulSets of these names, by name.
    """

    until: float
    phases: Counter[tuple[str, Phase]]
    running_jobs: dict[str, tuple[RunningJobView, ...]]
    schedules: dict[str, tuple[DefinitionScheduleView, ...]]
    dependencies: frozenset[str]
    workloads: dict[str, list[Workload]]


class DefinitionStatuses:
    """Reads the status of all definitions with three lists, which serve all requests of a second, and one of schedules.

    Args:
        client: of the namespace that the runs are in.
        all_definitions: returns every definition, also those that a caller may not see.
        clock: seconds that never go back.
        now: returns the time.
    """

    def __init__(
        self,
        client: NamespacedClient,
        all_definitions: Callable[[], Sequence[Definition]],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._client = client
        self._all_definitions = all_definitions
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._schedules: dict[str, tuple[DefinitionScheduleView, ...]] = {}
        self._schedules_until = -math.inf

    def describe(self, definitions: Sequence[Definition]) -> list[DefinitionView]:
        """Return the status of these definitions, in their order and at most a second old.

        Raises:
            ClusterError: the call to the API server failed.
            BusyError: too many other requests ask it.
        """
        snapshot = self._fresh_snapshot(definitions)
        return [_view(definition, snapshot) for definition in definitions]

    def _fresh_snapshot(self, definitions: Sequence[Definition]) -> _Snapshot:
        if not self._lock.acquire(timeout=_TURN_SECONDS):
            raise BusyError("other requests read the definitions' status all the time")
        try:
            known = (*self._all_definitions(), *definitions)
            names = frozenset(name for definition in known for name in definition.depends_on)
            snapshot = self._snapshot
            if snapshot is None or snapshot.until <= self._clock() or not names <= snapshot.dependencies:
                self._snapshot = snapshot = None  # free the old one before the new one is read
                phases, running = self._read_runs()
                workloads = self._find_workloads(names)
                until = self._clock() + _FRESH_SECONDS
                if self._schedules_until <= self._clock():
                    self._schedules = self._read_schedules(known)
                    self._schedules_until = self._clock() + _SCHEDULES_FRESH_SECONDS
                self._snapshot = snapshot = _Snapshot(until, phases, running, self._schedules, names, workloads)
            return snapshot
        finally:
            self._lock.release()

    def _read_runs(self) -> tuple[Counter[tuple[str, Phase]], dict[str, tuple[RunningJobView, ...]]]:
        phases: Counter[tuple[str, Phase]] = Counter()
        active: dict[str, list[RunningJobView]] = {}
        for job in self._client.objects(self._client.runs):
            run = read_run(job)
            phases[run.definition, run.phase] += 1
            if run.phase is Phase.ADMITTED and is_addressable(run):
                shown = active.setdefault(run.definition, [])
                if len(shown) < _MAX_RUNNING_JOBS:
                    shown.append(_running_job(job, run))
        return phases, {
            name: tuple(sorted(shown, key=lambda view: view.in_queue_timestamp)) for name, shown in active.items()
        }

    def _read_schedules(self, definitions: Sequence[Definition]) -> dict[str, tuple[DefinitionScheduleView, ...]]:
        """Read the schedules; without the right to list CronJobs there are none to tell."""
        found: dict[str, list[DefinitionScheduleView]] = {}
        names: set[str] = set()
        now = self._now()
        try:
            for cronjob in self._client.objects(self._client.schedules):
                names.add(cronjob["metadata"]["name"])
                shown = found.setdefault(cronjob["metadata"]["labels"][labels.DEFINITION_LABEL], [])
                if len(shown) < _MAX_SCHEDULES:
                    shown.append(summarize_schedule(cronjob, now))
        except ForbiddenError as error:
            log.debug("the schedules can't be read: %s", error)
        else:
            for definition in definitions:
                if missing := list_missing(definition, names):
                    found[definition.name] = [*found.get(definition.name, ()), *missing][:_MAX_SCHEDULES]
        return {
            name: tuple(sorted(shown, key=lambda view: (view.next_timestamp < 0, view.next_timestamp)))
            for name, shown in found.items()
        }

    def _find_workloads(self, names: frozenset[str]) -> dict[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for kind, collection in self._client.workloads.items() if names else ():
            for workload in self._client.objects(collection):
                if workload["metadata"]["name"] in names:
                    found.setdefault(workload["metadata"]["name"], []).append(read_workload(kind, workload))
        return found


def _running_job(job: Json, run: Run) -> RunningJobView:
    started_at = read_time((job.get("status") or {}).get("startTime"))
    return RunningJobView(
        name=run.name,
        status=Status.RUNNING if run.started else Status.PENDING,
        element_id=id_in(run.definition, run.name),
        in_queue_timestamp=run.queued_at // 1000,
        start_timestamp=-1 if started_at is None else started_at // 1000,
    )


def _view(definition: Definition, snapshot: _Snapshot) -> DefinitionView:
    return DefinitionView(
        name=definition.name,
        visibility=definition.visibility,
        image=definition.image,
        number_parallel_job=definition.number_parallel_job,
        active_runs=snapshot.phases[definition.name, Phase.ADMITTED],
        queue_length=snapshot.phases[definition.name, Phase.QUEUED],
        max_queued=definition.max_queued,
        overridable=tuple(field for field in REQUEST_FIELDS if definition.can_set(field)),
        source=definition.source,
        depends_on=tuple(_dependency(name, snapshot.workloads.get(name, ())) for name in definition.depends_on),
        images_whitelist=definition.images_whitelist,
        resources=Resources(definition.requests, definition.limits),
        schedules=tuple(
            replace(schedule, source=definition.source) if schedule.source != "Http" else schedule
            for schedule in snapshot.schedules.get(definition.name, ())
        ),
        running_jobs=snapshot.running_jobs.get(definition.name, ()),
    )


def _dependency(name: str, workloads: Sequence[Workload]) -> DependencyView:
    readiness = assess(name, workloads)
    return DependencyView(
        name=name,
        kind=" and ".join(workload.kind for workload in workloads),
        ready=readiness.ready,
        ready_replicas=sum(workload.ready_replicas for workload in workloads),
        message=readiness.detail,
    )
