"""The workloads that runs may depend on, as the leader knows them."""

from collections.abc import Callable

from app.dispatcher.change_signal import ChangeSignal
from app.domain.workload import Workload


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
        """Add a workload, or replace it by its new state."""
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
