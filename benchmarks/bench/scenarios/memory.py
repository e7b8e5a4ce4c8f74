"""Scenario: the memory of a replica when idle, under load and with a long queue, with the pod's limits if possible."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.bench.cluster import BenchCluster, wait_leading
from benchmarks.bench.processes import Memory, family, read_memory_of
from benchmarks.bench.report import Row
from tests.support.cgroups import ControlGroup, NoControlGroupError, control_group
from tests.support.service import ServiceProcess

MEMORY_MIB, CORES = 76, 0.4
"""The pod's limits in upstream's manifest."""

_CONNECTIONS = 16
_SETTLE_SECONDS = 3.0
_CAUGHT_UP_PER_SECOND = 1000
_PAUSE_SECONDS = 0.25
_GROWTH_MIB = 25


@dataclass(frozen=True)
class Sample:
    """The memory at one moment.

    Attributes:
        processes: the memory of the replica's processes by PID.
        charged_mib: the memory charged to the control group, page cache included. This figure and the next two are 0
            without a control group.
        working_set_mib: the same without inactive page cache.
        anonymous_mib: the anonymous memory, which cannot be reclaimed without swap.
    """

    processes: dict[int, Memory]
    charged_mib: float = 0.0
    working_set_mib: float = 0.0
    anonymous_mib: float = 0.0

    @property
    def total(self) -> Memory:
        """The memory of all processes."""
        return sum(self.processes.values(), Memory())


@dataclass(frozen=True)
class Replica:
    """A replica whose memory is measured.

    Attributes:
        service: the replica.
        group: its control group; `None` if none can be created.
        why: why none can be created.
    """

    service: ServiceProcess
    group: ControlGroup | None
    why: str

    def read(self) -> Sample:
        """Read the current memory."""
        processes, group = read_memory_of(family(self.service.pid)), self.group
        if group is None:
            return Sample(processes)
        return Sample(processes, group.usage_mib(), group.working_set_mib(), group.anonymous_mib())

    @contextmanager
    def sampled(self) -> Iterator[list[Sample]]:
        """Read the memory repeatedly in another thread, at least once."""
        samples: list[Sample] = []
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(_PAUSE_SECONDS):
                samples.append(self.read())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield samples
        finally:
            ended.set()
            thread.join()
            samples.append(self.read())

    def rows(self, when: str, samples: list[Sample], at_most: float | None = None) -> Iterator[Row]:
        """Yield the highest values; each figure may come from another sample."""
        most = max(samples, key=lambda sample: sample.total.pss_mib)
        parts = ", ".join(f"{memory.pss_mib:.1f}" for memory in most.processes.values())
        yield Row("memory", f"{when}: PSS", most.total.pss_mib, "MiB", at_most=at_most, remark=f"by process: {parts}")
        yield Row("memory", f"{when}: USS", max(sample.total.uss_mib for sample in samples), "MiB")
        what = f"{when}: cgroup"
        if self.group is None:
            yield Row("memory", what, None, "MiB", remark=self.why)
            return
        charged = max(samples, key=lambda sample: sample.charged_mib)
        remark = f"anonymous {charged.anonymous_mib:.1f}, working set {charged.working_set_mib:.1f}"
        yield Row("memory", what, charged.charged_mib, "MiB", remark=remark)


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Measure the memory of a replica's processes and of its control group."""
    with ExitStack() as cleanup:
        group, why = None, ""
        try:
            group = cleanup.enter_context(control_group(MEMORY_MIB * 2**20, CORES))
        except NoControlGroupError as error:
            why = str(error)
        namespace = cleanup.enter_context(cluster.namespace())
        service = cleanup.enter_context(cluster.replica(namespace, prefix=group.prefix() if group else ()))
        replica, settle_seconds = Replica(service, group, why), min(_SETTLE_SECONDS, cluster.sizes.idle_seconds)
        wait_leading(service)
        time.sleep(settle_seconds)
        yield from replica.rows("idle", [replica.read()])

        with replica.sampled() as samples:
            done = cluster.call_service(service, "crowd", connections=_CONNECTIONS, seconds=cluster.sizes.load_seconds)
        yield from replica.rows("under load", samples, at_most=MEMORY_MIB)
        limits = f"at most {CORES} cores, {MEMORY_MIB} MiB" if group else "without limits"
        yield Row("memory", "under load: accepted", done.per_second, "/s", remark=f"{limits}; {done.others or 'all'}")

        cluster.empty(namespace)
        time.sleep(settle_seconds)
        before, length = replica.read().total, cluster.sizes.queues[-1]
        with replica.sampled() as samples:
            cluster.fill(namespace, length)
            # With 0.4 cores the watch takes some time to catch up.
            time.sleep(settle_seconds + length / _CAUGHT_UP_PER_SECOND)
        yield from replica.rows(f"{length:,} queued", samples, at_most=MEMORY_MIB)
        growth = max(sample.total.pss_mib for sample in samples) - before.pss_mib
        remark = "from an empty queue, after the load"
        yield Row("memory", f"{length:,} queued: growth", growth, "MiB", at_most=_GROWTH_MIB, remark=remark)
        if group is not None:
            # The peak cannot exceed the limit. If the limit is too low, processes are killed.
            remark = f"throttled for {group.throttled_seconds():.0f} s, all threads together"
            yield Row("memory", "peak of the cgroup", group.peak_mib(), "MiB", remark=remark)
            yield Row("memory", "processes killed", group.kills(), at_most=0)
