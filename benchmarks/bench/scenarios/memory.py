"""The memory of one replica: idle, under load and with a long queue, within the pod's own limits if it can be."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bench.processes import Memory, family, read_memory_of
from benchmarks.bench.report import Row
from benchmarks.bench.stage import Stage, wait_leading
from tests.cgroups import ControlGroup, NoControlGroupError, control_group
from tests.service import ServiceProcess

MEMORY_MIB, CORES = 76, 0.4
"""The limits of the pod in SlimFaas' own manifest."""

_CONNECTIONS = 16
_SETTLE_SECONDS = 3.0
_CAUGHT_UP_PER_SECOND = 1000
_PAUSE_SECONDS = 0.25
_GROWTH_MIB = 25


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
        wait_leading(service)
        time.sleep(min(_SETTLE_SECONDS, stage.sizes.idle_seconds))
        idle = _read(service)
        yield from _tell("idle", idle, group, why)

        with _sampled(service) as samples:
            done = stage.call_service(service, "crowd", connections=_CONNECTIONS, seconds=stage.sizes.load_seconds)
        most = max(samples, key=lambda sample: _sum(sample).pss_mib)
        yield from _tell("under load", most, group, why, at_most=MEMORY_MIB)
        limits = f"at most {CORES} cores, {MEMORY_MIB} MiB" if group else "without limits"
        yield Row("memory", "under load: accepted", done.per_second, "/s", remark=f"{limits}; {done.others or 'all'}")

        stage.empty(namespace)
        time.sleep(min(_SETTLE_SECONDS, stage.sizes.idle_seconds))
        before, length = _sum(_read(service)), stage.sizes.queues[-1]
        with _sampled(service) as samples:
            stage.fill(namespace, length)
            # At 0.4 cores the watch is behind for a while.
            time.sleep(min(_SETTLE_SECONDS, stage.sizes.idle_seconds) + length / _CAUGHT_UP_PER_SECOND)
        full = max(samples, key=lambda sample: _sum(sample).pss_mib)
        yield from _tell(f"{length:,} queued", full, group, why, at_most=MEMORY_MIB)
        growth = _sum(full).pss_mib - before.pss_mib
        yield Row(
            "memory",
            f"{length:,} queued: growth",
            growth,
            "MiB",
            at_most=_GROWTH_MIB,
            remark="from an empty queue, after the load",
        )
        if group is not None:
            remark = f"{group.kills()} killed; throttled for {group.throttled_seconds():.0f} s, all threads together"
            yield Row("memory", "peak of the cgroup", group.peak_mib(), "MiB", at_most=MEMORY_MIB, remark=remark)


def _read(service: ServiceProcess) -> dict[int, Memory]:
    return read_memory_of(family(service.pid))


def _sum(sample: dict[int, Memory]) -> Memory:
    return sum(sample.values(), Memory())


@contextmanager
def _sampled(service: ServiceProcess) -> Iterator[list[dict[int, Memory]]]:
    """Read memory again and again, at least once, in a thread of its own."""
    samples: list[dict[int, Memory]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            samples.append(_read(service))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
        samples.append(_read(service))


def _tell(
    when: str, sample: dict[int, Memory], group: ControlGroup | None, why: str, at_most: float | None = None
) -> Iterator[Row]:
    parts = ", ".join(f"{memory.pss_mib:.1f}" for memory in sample.values())
    total = _sum(sample)
    yield Row("memory", f"{when}: PSS", total.pss_mib, "MiB", at_most=at_most, remark=f"by process: {parts}")
    yield Row("memory", f"{when}: USS", total.uss_mib, "MiB")
    what = f"{when}: cgroup"
    if group is None:
        yield Row("memory", what, None, "MiB", remark=why)
        return
    remark = f"anonymous {group.anonymous_mib():.1f}, working set {group.working_set_mib():.1f}"
    yield Row("memory", what, group.usage_mib(), "MiB", at_most=at_most, remark=remark)
