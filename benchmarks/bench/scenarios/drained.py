"""Scenario: admissions per second of a long queue with free slots, compared with direct patches."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from app.dispatcher.write import PROMPT_WRITERS
from app.kube.manifests import build_admission
from benchmarks.bench.cluster import GATED, BenchCluster, wait_leading, wait_until
from benchmarks.bench.processes import family, read_cpu_seconds
from benchmarks.bench.report import Row, median
from benchmarks.bench.watcher import watch
from tests.support.service import ServiceProcess

_GATE = "gate"
"""The Deployment that the runs wait for."""

_SECONDS = 120.0
_GOAL = 0.7


@dataclass(frozen=True)
class _Drained:
    """The result of one round.

    Attributes:
        per_second: the admissions per second, by the events of a watch.
        cores: the service's CPU time in cores.
    """

    per_second: float
    cores: float = 0.0


def measure(cluster: BenchCluster) -> Iterator[Row]:
    """Alternate direct patches and the dispatcher, and which comes first; each with as many queued runs and writers."""
    rounds, each = cluster.sizes.drained[0], cluster.sizes.drained[1] // len(GATED)
    runs = each * len(GATED)
    direct, ours = list[_Drained](), list[_Drained]()
    with cluster.namespace() as namespace, cluster.namespace() as other, cluster.replica(namespace) as service:
        wait_leading(service)
        for number in range(rounds):
            # What the first one leaves for the controllers to clean up disturbs the second.
            for dispatcher in (number % 2 == 1, number % 2 == 0):
                queue = namespace if dispatcher else other
                cluster.fill(queue, each, GATED)
                if dispatcher:
                    ours.append(_drain(cluster, service, namespace, runs))
                else:
                    direct.append(_patch_directly(cluster, other, runs))
                cluster.empty(queue)
    at = f"{runs:,} queued of {len(GATED)} definitions, slots free"
    ratios = [mine.per_second / theirs.per_second for mine, theirs in zip(ours, direct, strict=True)]
    paths = f"{PROMPT_WRITERS} prompt writers, {PROMPT_WRITERS} connections"
    remark = f"{min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds, {paths}"
    yield Row("drained", f"{at}: admissions to direct patches", median(ratios), at_least=_GOAL, remark=remark)
    cores = f"the service took {median([one.cores for one in ours]) or 0.0:.2f} cores"
    yield Row("drained", f"{at}: admissions", median([one.per_second for one in ours]), "/s", remark=cores)
    yield Row("drained", f"{at}: direct patches", median([one.per_second for one in direct]), "/s")


def _drain(cluster: BenchCluster, service: ServiceProcess, namespace: str, runs: int) -> _Drained:
    """Let the queue start, and wait until all of it is admitted."""
    apps: Any = client.AppsV1Api(cluster.server.admin)
    labels = {"app": _GATE}
    container = {"name": "main", "image": "busybox:1", "args": ["sleep", "600"]}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    pids = family(service.pid)
    with watch(cluster.server, namespace, *GATED) as watcher:
        before = read_cpu_seconds(pids)
        apps.create_namespaced_deployment(namespace, {"metadata": {"name": _GATE}, "spec": spec})
        wait_until(lambda: watcher.failure is not None or len(watcher.admitted) >= runs, "all runs to be admitted")
        cpu_seconds = read_cpu_seconds(pids) - before
    apps.delete_namespaced_deployment(_GATE, namespace, propagation_policy="Background")
    if watcher.failure is not None:
        raise watcher.failure
    return _rate(list(watcher.admitted.values()), cpu_seconds)


def _patch_directly(cluster: BenchCluster, namespace: str, runs: int) -> _Drained:
    """Admit the same runs with the same patches."""
    batch: Any = client.BatchV1Api(cluster.server.admin)
    jobs = json.loads(batch.list_namespaced_job(namespace, _preload_content=False).data)["items"]
    targets = [
        (
            f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}",
            json.dumps(build_admission(int(job["metadata"]["resourceVersion"]))),
        )
        for job in jobs[:runs]
    ]
    with watch(cluster.server, namespace, *GATED) as watcher:
        done = cluster.patch_directly(namespace, targets, connections=PROMPT_WRITERS, seconds=_SECONDS)
        assert not done.others, done.others
        wait_until(lambda: watcher.failure is not None or len(watcher.admitted) >= runs, "all patches to be seen")
    return _rate(list(watcher.admitted.values()))


def _rate(moments: list[float], cpu_seconds: float = 0.0) -> _Drained:
    seconds = max(moments) - min(moments)
    return _Drained((len(moments) - 1) / max(seconds, 1e-9), cpu_seconds / max(seconds, 1e-9))
