"""Measure the memory of a cache of all Jobs of a namespace: `python -m benchmarks.informer_memory KIND …`.

KIND is `records` (the service's reflector and run store), `dicts` (the same reflector with unchanged objects) or
`models` (the client's `SharedInformer`). Each kind is measured in its own process.
"""

import argparse
import time
from typing import Any, Protocol

from app.common.types import Json
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.run_store import RunStore
from app.kube.client import NamespacedClient
from app.kube.parsing import read_run
from app.kube.reflector import Reflector
from benchmarks.memory import read_peak_rss_mib, read_pss_mib, read_rss_mib, reset_peak
from benchmarks.target import build_sample, open_namespace, read_configuration, report, wait_until

_WARM_UP_OBJECTS = 5
"""Objects to read before the measurement, so that one-time costs are not counted."""

_SYNC_SECONDS = 60.0


class Kept(Protocol):
    """A cache that keeps itself up to date."""

    def warm_up(self) -> None:
        """Use everything once."""

    def start(self) -> None:
        """Begin to list and watch."""

    def knows(self, job: Json) -> bool:
        """Whether a Job is in the cache."""


class Records:
    """The service's own."""

    def __init__(self, namespace: NamespacedClient) -> None:
        self._namespace = namespace
        self._table = RunStore(ChangeSignal())
        self._reflector = Reflector(namespace, namespace.runs, read_run, self._table, name="runs")

    def warm_up(self) -> None:
        """Read a few Jobs."""
        page = self._namespace.transport.call("GET", self._namespace.runs.path, query={"limit": _WARM_UP_OBJECTS})
        assert all(read_run(job) for job in page["items"])

    def start(self) -> None:
        """Start the reflector."""
        self._reflector.start()

    def knows(self, job: Json) -> bool:
        """Look the uid up."""
        return self._table.get(job["metadata"]["uid"]) is not None


class Dicts:
    """The service's reflector, with every object kept as received."""

    def __init__(self, namespace: NamespacedClient) -> None:
        self._namespace = namespace
        self._objects: dict[str, Json] = {}
        self._reflector: Reflector[Json] = Reflector(namespace, namespace.runs, lambda job: job, self, name="runs")

    def warm_up(self) -> None:
        """Read a few Jobs."""
        self._namespace.transport.call("GET", self._namespace.runs.path, query={"limit": _WARM_UP_OBJECTS})

    def start(self) -> None:
        """Start the reflector."""
        self._reflector.start()

    def knows(self, job: Json) -> bool:
        """Look the uid up."""
        return job["metadata"]["uid"] in self._objects

    def replace(self, records: list[Json], _version: int) -> None:
        """Replace the cached objects."""
        self._objects = {job["metadata"]["uid"]: job for job in records}

    def put(self, record: Json) -> None:
        """Add an object."""
        self._objects[record["metadata"]["uid"]] = record

    def remove(self, record: Json) -> None:
        """Remove an object."""
        self._objects.pop(record["metadata"]["uid"], None)


class Models:
    """The client's informer, used as documented."""

    def __init__(self, namespace: NamespacedClient, configuration: Any) -> None:
        from kubernetes.client import ApiClient, BatchV1Api  # here, because the other kinds must not import it
        from kubernetes.informer import SharedInformer

        self._namespace = namespace
        self._list = BatchV1Api(ApiClient(configuration)).list_namespaced_job
        make: Any = SharedInformer  # the client has no annotations here
        self._informer: Any = make(self._list, namespace=namespace.name, label_selector=namespace.runs.label_selector)

    def warm_up(self) -> None:
        """Read a few Jobs."""
        assert self._list(self._namespace.name, limit=_WARM_UP_OBJECTS).items

    def start(self) -> None:
        """Start the informer."""
        self._informer.start()

    def knows(self, job: Json) -> bool:
        """Look the name up."""
        return self._informer.cache.get_by_key(f"{self._namespace.name}/{job['metadata']['name']}") is not None


def main() -> None:
    """Measure one kind of cache."""
    parser = argparse.ArgumentParser(description="Memory per cached Job.")
    parser.add_argument("kind", choices=["records", "dicts", "models"])
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--jobs", type=int, required=True, help="the number of Jobs in the namespace")
    given = parser.parse_args()
    configuration = read_configuration(given.kubeconfig)
    namespace = open_namespace(configuration, given.namespace)
    kept: Kept
    match given.kind:
        case "records":
            kept = Records(namespace)
        case "dicts":
            kept = Dicts(namespace)
        case _:
            kept = Models(namespace, configuration)
    first = next(iter(namespace.objects(namespace.runs)))
    kept.warm_up()

    pss_before, rss_before, cpu_before = read_pss_mib(), read_rss_mib(), time.process_time()
    reset_peak()
    kept.start()
    synced = wait_until(lambda: kept.knows(first), _SYNC_SECONDS)
    # The list's own memory is released by the time that the watch delivers a Job created after it.
    last = namespace.create_job(build_sample(f"{given.kind[0]}{time.time_ns() % 10**11:011d}"))
    watching = wait_until(lambda: kept.knows(last), _SYNC_SECONDS)
    if synced is None or watching is None:
        raise TimeoutError(f"{given.kind}: not synced within {_SYNC_SECONDS} s")
    report(
        kept_kib_per_job=(read_pss_mib() - pss_before) * 1024 / given.jobs,
        peak_mib=read_peak_rss_mib() - rss_before,
        process_mib=read_pss_mib(),
        sync_seconds=synced,
        cpu_ms_per_job=(time.process_time() - cpu_before) * 1000 / given.jobs,
    )


if __name__ == "__main__":
    main()
