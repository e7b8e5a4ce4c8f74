"""The memory of one replica: idle, under load and with a long queue, within the pod's own limits if it can be."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.bench.processes import Memory, family, read_memory_of
from benchmarks.bench.report import Row
from benchmarks.bench.stage import Stage, wait_leading
from tests.support.cgroups import ControlGroup, NoControlGroupError, control_group
from tests.support.service import ServiceProcess

MEMORY_MIB, CORES = 76, 0.4
"""The limits of the pod in SlimFaas' own manifest."""

_CONNECTIONS = 16
_SETTLE_SECONDS = 3.0
_CAUGHT_UP_PER_SECOND = 1000
_PAUSE_SECONDS = 0.25
_GROWTH_MIB = 25


@dataclass(frozen=True)
class Sample:
    """What there was at one moment.

    Attributes:
        processes: the replica's, by id.
        charged_mib: to the control group, file pages included; 0 where there is none, as the next two.
        working_set_mib: of that, without file pages that can go.
        anonymous_mib: of that, what can't be dropped.
    """

    processes: dict[int, Memory]
    charged_mib: float = 0.0
    working_set_mib: float = 0.0
    anonymous_mib: float = 0.0

    @property
    def total(self) -> Memory:
        """Of all processes."""
        return sum(self.processes.values(), Memory())


@dataclass(frozen=True)
class Replica:
    """A replica whose memory is read.

    Attributes:
        service: its first process.
        group: within which it runs; `None`: none can be made.
        why: not.
    """

    service: ServiceProcess
    group: ControlGroup | None
    why: str

    def read(self) -> Sample:
        """Read it now."""
        processes, group = read_memory_of(family(self.service.pid)), self.group
        if group is None:
            return Sample(processes)
        return Sample(processes, group.usage_mib(), group.working_set_mib(), group.anonymous_mib())

    @contextmanager
    def sampled(self) -> Iterator[list[Sample]]:
        """Read it again and again, at least once, in a thread of its own."""
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

    def tell(self, when: str, samples: list[Sample], at_most: float | None = None) -> Iterator[Row]:
        """The highest of what was read; each figure has a moment of its own."""
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


def measure(stage: Stage) -> Iterator[Row]:
    """Read the memory of a replica's processes, and the control group's."""
    with ExitStack() as cleanup:
        group, why = None, ""
        try:
            group = cleanup.enter_context(control_group(MEMORY_MIB * 2**20, CORES))
        except NoControlGroupError as error:
            why = str(error)
        namespace = cleanup.enter_context(stage.namespace())
        service = cleanup.enter_context(stage.replica(namespace, prefix=group.prefix() if group else ()))
        replica, settle_seconds = Replica(service, group, why), min(_SETTLE_SECONDS, stage.sizes.idle_seconds)
        wait_leading(service)
        time.sleep(settle_seconds)
        yield from replica.tell("idle", [replica.read()])

        with replica.sampled() as samples:
            done = stage.call_service(service, "crowd", connections=_CONNECTIONS, seconds=stage.sizes.load_seconds)
        yield from replica.tell("under load", samples, at_most=MEMORY_MIB)
        limits = f"at most {CORES} cores, {MEMORY_MIB} MiB" if group else "without limits"
        yield Row("memory", "under load: accepted", done.per_second, "/s", remark=f"{limits}; {done.others or 'all'}")

        stage.empty(namespace)
        time.sleep(settle_seconds)
        before, length = replica.read().total, stage.sizes.queues[-1]
        with replica.sampled() as samples:
            stage.fill(namespace, length)
            # At 0.4 cores the watch is behind for a while.
            time.sleep(settle_seconds + length / _CAUGHT_UP_PER_SECOND)
        yield from replica.tell(f"{length:,} queued", samples, at_most=MEMORY_MIB)
        growth = max(sample.total.pss_mib for sample in samples) - before.pss_mib
        remark = "from an empty queue, after the load"
        yield Row("memory", f"{length:,} queued: growth", growth, "MiB", at_most=_GROWTH_MIB, remark=remark)
        if group is not None:
            # The limit is the peak's own bound: that it wasn't enough shows in what is killed.
            remark = f"throttled for {group.throttled_seconds():.0f} s, all threads together"
            yield Row("memory", "peak of the cgroup", group.peak_mib(), "MiB", remark=remark)
            yield Row("memory", "processes killed", group.kills(), at_most=0)
