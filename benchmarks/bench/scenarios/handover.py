"""Scenario: the time without admissions after the leader has gone."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from app.dispatcher.lease import LeaseTiming
from benchmarks.bench.cluster import BenchCluster, Caller, wait_leading
from benchmarks.bench.report import Row, median
from benchmarks.bench.watcher import watch
from tests.support.service import ServiceProcess

_SECONDS = 60.0
_PAUSE_SECONDS = 0.1


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Stop and kill the leader, with another replica running."""
    repeats = max(1, cluster.sizes.repeats // 2)
    methods: list[tuple[str, Callable[[ServiceProcess], object], float]] = [
        ("leader stopped", ServiceProcess.stop, 2.0),
        ("leader killed", ServiceProcess.kill, LeaseTiming().lease_seconds + 2.0),
    ]
    for what, end, goal_seconds in methods:
        times = [_measure_handover(cluster, end) for _ in range(repeats)]
        seen = [seconds for seconds in times if seconds is not None]
        value = median(seen) if len(seen) == len(times) else None
        remark = ", ".join("never" if seconds is None else f"{seconds:.2f}" for seconds in times)
        yield Row("handover", f"{what}: next admission", value, "s", at_most=goal_seconds, remark=f"each: {remark}")


def _measure_handover(cluster: BenchCluster, end: Callable[[ServiceProcess], object]) -> float | None:
    """Return the longest wait of the runs that the other replica accepts meanwhile; `None` if one is never admitted."""
    with cluster.namespace() as namespace, ExitStack() as cleanup:
        leader = cleanup.enter_context(cluster.replica(namespace, HOSTNAME="first"))
        wait_leading(leader)
        follower = cleanup.enter_context(cluster.replica(namespace, HOSTNAME="second"))
        caller = Caller(follower)
        cleanup.callback(caller.close)
        watcher = cleanup.enter_context(watch(cluster.server, namespace, "free"))
        caller.start("free")  # the first run opens connections
        accepted: dict[str, float] = {}
        ending = threading.Thread(target=end, args=[leader])
        ending.start()
        # The first run that the old leader cannot admit any more waits longest.
        while ending.is_alive() or not accepted or not watcher.wait_for(set(accepted), seconds=0):
            name, arrived = caller.start("free")
            accepted[name] = arrived
            if len(accepted) * _PAUSE_SECONDS > _SECONDS:
                return None
            time.sleep(_PAUSE_SECONDS)
        ending.join()
        return max(watcher.admitted[name] - at for name, at in accepted.items())
