"""How long nobody admits runs after the dispatcher has gone."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from app.dispatch.leader import LeaseTiming
from benchmarks.bench.report import Row, median
from benchmarks.bench.stage import Caller, Stage, wait_leading
from benchmarks.bench.watcher import watch
from tests.service import ServiceProcess

_SECONDS = 60.0


def measure(stage: Stage) -> Iterator[Row]:
    """Let the leader go in both ways, with another replica at hand."""
    repeats = max(1, stage.sizes.repeats // 2)
    ways: list[tuple[str, Callable[[ServiceProcess], object], float]] = [
        ("leader stopped", ServiceProcess.stop, 2.0),
        ("leader killed", ServiceProcess.kill, LeaseTiming().lease_seconds + 2.0),
    ]
    for what, end, goal_seconds in ways:
        times = [_hand_over(stage, end) for _ in range(repeats)]
        seen = [seconds for seconds in times if seconds is not None]
        value = median(seen) if len(seen) == len(times) else None
        remark = ", ".join("never" if seconds is None else f"{seconds:.2f}" for seconds in times)
        yield Row("handover", f"{what}: next admission", value, "s", at_most=goal_seconds, remark=f"each: {remark}")


def _hand_over(stage: Stage, end: Callable[[ServiceProcess], object]) -> float | None:
    """Seconds from the leader's end, as it begins, to the admission of a run that was accepted after it began."""
    with stage.namespace() as namespace, ExitStack() as cleanup:
        leader = cleanup.enter_context(stage.replica(namespace, HOSTNAME="first"))
        wait_leading(leader)
        follower = cleanup.enter_context(stage.replica(namespace, HOSTNAME="second"))
        caller = Caller(follower)
        cleanup.callback(caller.close)
        watcher = cleanup.enter_context(watch(stage.server, namespace, "free"))
        caller.start("free")
        began = time.monotonic()
        end(leader)
        name, _ = caller.start("free")
        return watcher.admitted[name] - began if watcher.wait_for({name}, seconds=_SECONDS) else None
