"""Scenario: the number of calls to the API server, per run and when idle, from its audit log."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench.cluster import BenchCluster, Caller, wait_leading, wait_until
from benchmarks.bench.report import Row
from benchmarks.bench.watcher import watch
from tests.controlplane.audit import calls_of
from tests.support.servers import SERVICE_ACCOUNT
from tests.support.service import ServiceProcess

_SETTLE_SECONDS = 3.0
_RUN_SECONDS = 60.0
_WRITES = ("create", "update", "patch", "delete")
_FREE, _WAITS = "slot free", "waiting, not admitted yet"
_EVENT = "create events"
_NO_LOG = "the API server's audit log is not available"


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Count calls while the service is idle, and while runs come and go."""
    audit_log = cluster.audit_log
    if audit_log is None:
        yield Row("calls", "per idle minute", None, remark=_NO_LOG)
        yield Row("calls", f"writes per run, {_FREE}", None, remark=_NO_LOG)
        yield Row("calls", f"writes per run, {_WAITS}", None, remark=_NO_LOG)
        return
    with cluster.namespace() as namespace, cluster.replica(namespace) as service:
        account = f"system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}"
        wait_leading(service)
        _start(cluster, service, namespace, 1)
        time.sleep(_SETTLE_SECONDS)

        before = _count(account, audit_log)
        time.sleep(cluster.sizes.idle_seconds)
        idle = _count(account, audit_log) - before
        minutes = cluster.sizes.idle_seconds / 60
        yield Row("calls", "per idle minute", idle.total() / minutes, remark=_describe(idle))

        before = _count(account, audit_log)
        _start(cluster, service, namespace, cluster.sizes.runs)
        time.sleep(_SETTLE_SECONDS)
        yield _per_run(_FREE, _count(account, audit_log) - before, cluster.sizes.runs, at_most=2)

        before = _count(account, audit_log)
        caller = Caller(service)
        for _ in range(cluster.sizes.runs):
            caller.start("crowd")
        caller.close()
        # Of runs that wait for the same reason, the first ones are told.
        wait_until(lambda: _count(account, audit_log)[_EVENT] > before[_EVENT], "an Event", pause_seconds=1.0)
        time.sleep(_SETTLE_SECONDS)
        yield _per_run(_WAITS, _count(account, audit_log) - before, cluster.sizes.runs, at_most=2)


def _start(cluster: BenchCluster, service: ServiceProcess, namespace: str, count: int) -> None:
    caller = Caller(service)
    with watch(cluster.server, namespace, "free") as watcher:
        names = {caller.start("free")[0] for _ in range(count)}
        assert watcher.wait_for(names, seconds=_RUN_SECONDS), "not all runs were admitted"
    caller.close()


def _count(account: str, audit_log: Path) -> Counter[str]:
    """Count the completed calls by verb and resource, and by status where it is 300 or more."""
    answered = [call for call in calls_of(account, audit_log) if call["stage"] != "ResponseStarted"]
    return Counter(map(_kind, (call for call in answered if "objectRef" in call)))


def _kind(call: dict[str, Any]) -> str:
    code = call["responseStatus"]["code"]
    return f"{call['verb']} {call['objectRef']['resource']}" + (f" ({code})" if code >= 300 else "")


def _per_run(kind: str, counted: Counter[str], runs: int, at_most: float) -> Row:
    writes = sum(
        count
        for what, count in counted.items()
        if what.startswith(_WRITES) and not what.endswith((" leases", " tokenreviews", ")"))
    )
    return Row("calls", f"writes per run, {kind}", writes / runs, at_most=at_most, remark=_describe(counted))


def _describe(counted: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counted.most_common())
