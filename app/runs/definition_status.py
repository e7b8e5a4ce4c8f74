"""How each definition stands: what is queued, what is active, and whether its dependencies are ready."""

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
"""How long one look at the cluster serves those who come after it."""

_PATIENCE_SECONDS = 10.0
"""How long a call waits for another one's look; while the API server is away they fail one after the other."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of the cluster.

    Attributes:
        until: when it is too old.
        phases: how many runs of each definition are in each phase.
        named: the dependencies that were looked for.
        workloads: the Deployments and StatefulSets that definitions name, by name.
    """

    until: float
    phases: Counter[tuple[str, Phase]]
    named: frozenset[str]
    workloads: dict[str, list[Workload]]


class DefinitionStatuses:
    """Looks at all definitions at once: three lists, however many there are, and however many ask within a second.

    Args:
        client: where the runs are.
        all_definitions: returns every definition, whoever may see it.
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
        self._look: _Look | None = None

    def describe(self, definitions: Sequence[Definition]) -> list[DefinitionView]:
        """Say how these definitions stand, as of less than a second ago, in their order.

        Raises:
            ClusterError: the API server can't be asked.
            BusyError: too many others ask it.
        """
        look = self._look_around(definitions)
        return [_view(definition, look) for definition in definitions]

    def _look_around(self, definitions: Sequence[Definition]) -> _Look:
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            raise BusyError("others look all the time")
        try:
            known = (*self._all_definitions(), *definitions)
            named = frozenset(name for definition in known for name in definition.depends_on)
            if self._look is None or self._look.until <= self._clock() or not named <= self._look.named:
                self._look = None  # the old one need not be held beside the new one
                phases = self._count_runs()
                workloads = self._find_workloads(named)
                self._look = _Look(self._clock() + _FRESH_SECONDS, phases, named, workloads)
            return self._look
        finally:
            self._lock.release()

    def _count_runs(self) -> Counter[tuple[str, Phase]]:
        runs = map(read_run, self._client.objects(self._client.runs))
        return Counter((run.definition, run.phase) for run in runs)

    def _find_workloads(self, named: frozenset[str]) -> dict[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for kind, collection in self._client.workloads.items() if named else ():
            for workload in self._client.objects(collection):
                if workload["metadata"]["name"] in named:
                    found.setdefault(workload["metadata"]["name"], []).append(read_workload(kind, workload))
        return found


def _view(definition: Definition, look: _Look) -> DefinitionView:
    return DefinitionView(
        name=definition.name,
        visibility=definition.visibility,
        image=definition.image,
        number_parallel_job=definition.number_parallel_job,
        active_runs=look.phases[definition.name, Phase.ADMITTED],
        queue_length=look.phases[definition.name, Phase.QUEUED],
        max_queued=definition.max_queued,
        depends_on=tuple(_dependency(name, look.workloads.get(name, ())) for name in definition.depends_on),
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
