"""The watches of a leader, opened after it took the Lease: they keep its view of the cluster up to date."""

from collections.abc import Callable
from functools import partial
from typing import Any

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.run_store import RunStore
from app.dispatcher.workload_store import WorkloadStore
from app.domain.readiness import Readiness, Unready, assess, unready_dependencies
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run, read_workload
from app.kube.reflector import Reflector
from app.kube.shared_watch import Follower, SharedWatch


class ClusterWatches:
    """The watches that keep the stores of one term up to date.

    Args:
        client: of the namespace.
        signal: shared with the stores.
        runs: the store of runs, to be filled.
        runs_watch: the watch of runs.
        silence_seconds: see `Reflector`.
        on_break: called when a watch breaks, from its thread.
    """

    def __init__(
        self,
        client: NamespacedClient,
        signal: ChangeSignal,
        runs: RunStore,
        runs_watch: SharedWatch,
        silence_seconds: float,
        on_break: Callable[[], None],
    ) -> None:
        self._runs = runs
        self._workloads = {kind: WorkloadStore(signal, self._assess_again) for kind in client.workloads}
        self._runs_watch = runs_watch
        self._follower = Follower(read_run, runs, on_break=on_break)
        self._reflectors: list[Reflector[Any]] = []
        for kind, collection in client.workloads.items():
            read, store = partial(read_workload, kind), self._workloads[kind]
            self._reflectors.append(
                Reflector(
                    client, collection, read, store, name=kind, silence_seconds=silence_seconds, on_break=on_break
                )
            )

    def start(self) -> None:
        """List everything, and watch it from then on; returns at once."""
        self._runs_watch.join(self._follower)
        for reflector in self._reflectors:
            reflector.start()

    def stop(self) -> None:
        """End the watches; returns at once."""
        self._runs_watch.leave(self._follower)
        for reflector in self._reflectors:
            reflector.stop()

    def is_current(self) -> bool:
        """Whether everything has been listed, and no watch is broken."""
        is_synced = all(reflector.synced.is_set() for reflector in self._reflectors)
        return is_synced and self._runs_watch.is_synced(self._follower)

    def unready(self) -> Unready:
        """Return a function that tells a run's unready dependencies. It is valid while the lock is held."""
        return partial(unready_dependencies, readiness=_Assessed(self._assess))

    def _assess(self, name: str) -> Readiness:
        found = (store.get(name) for store in self._workloads.values())
        return assess(name, [workload for workload in found if workload is not None])

    def _assess_again(self, name: str) -> None:
        self._runs.set_ready(name, self._assess(name).ready)


class _Assessed(dict[str, Readiness]):
    """The readiness of dependencies by name, assessed when a name is first looked up."""

    def __init__(self, assess_name: Callable[[str], Readiness]) -> None:
        super().__init__()
        self._assess_name = assess_name

    def __missing__(self, name: str) -> Readiness:
        self[name] = found = self._assess_name(name)
        return found
