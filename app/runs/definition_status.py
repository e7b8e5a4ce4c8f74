"""The status of definitions: how many runs are queued and active, and whether the dependencies are ready."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.common.concurrency_limiter import BusyError
from app.domain.readiness import assess
from app.domain.run import Phase
from app.domain.workload import Workload
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run, read_workload
from schemas.definition import Definition
from schemas.definition_status import DefinitionView, DependencyView

_FRESH_SECONDS = 1.0
"""How long one reading of the cluster serves later requests."""

_TURN_SECONDS = 10.0
"""How long a request waits while another one reads. While the API server is away, they fail one after the other."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The state of the cluster at one moment.

    Attributes:
        until: when the snapshot expires.
        phases: how many runs of each definition are in each phase.
        dependencies: the names of the dependencies that were looked up.
        workloads: the Deployments and StatefulSets of these names, by name.
    """

    until: float
    phases: Counter[tuple[str, Phase]]
    dependencies: frozenset[str]
    workloads: dict[str, list[Workload]]


class DefinitionStatuses:
    """Reads the status of all definitions with three lists, which serve all requests of a second.

    Args:
        client: of the namespace that the runs are in.
        all_definitions: returns every definition, also those that a caller may not see.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        client: NamespacedClient,
        all_definitions: Callable[[], Sequence[Definition]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._all_definitions = all_definitions
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None

    def describe(self, definitions: Sequence[Definition]) -> list[DefinitionView]:
        """Return the status of these definitions, in their order and at most a second old.

        Raises:
            ClusterError: the API server can't be asked.
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
                phases = self._count_runs()
                workloads = self._find_workloads(names)
                self._snapshot = snapshot = _Snapshot(self._clock() + _FRESH_SECONDS, phases, names, workloads)
            return snapshot
        finally:
            self._lock.release()

    def _count_runs(self) -> Counter[tuple[str, Phase]]:
        runs = map(read_run, self._client.objects(self._client.runs))
        return Counter((run.definition, run.phase) for run in runs)

    def _find_workloads(self, names: frozenset[str]) -> dict[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for kind, collection in self._client.workloads.items() if names else ():
            for workload in self._client.objects(collection):
                if workload["metadata"]["name"] in names:
                    found.setdefault(workload["metadata"]["name"], []).append(read_workload(kind, workload))
        return found


def _view(definition: Definition, snapshot: _Snapshot) -> DefinitionView:
    return DefinitionView(
        name=definition.name,
        visibility=definition.visibility,
        image=definition.image,
        number_parallel_job=definition.number_parallel_job,
        active_runs=snapshot.phases[definition.name, Phase.ADMITTED],
        queue_length=snapshot.phases[definition.name, Phase.QUEUED],
        max_queued=definition.max_queued,
        depends_on=tuple(_dependency(name, snapshot.workloads.get(name, ())) for name in definition.depends_on),
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
