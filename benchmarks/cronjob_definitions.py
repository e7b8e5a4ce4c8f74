"""Measure what definitions from CronJobs cost a process: memory, the time of the first read, and calls while idle.

    python -m benchmarks.cronjob_definitions --kubeconfig FILE [--cronjobs 200] [--idle-seconds 120]

The kubeconfig is an administrator's, of an API server on this machine. The CronJobs are made in a namespace of their
own, which is deleted afterwards. Each has two containers, two volumes and ten variables.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.common.types import Json
from app.definitions.cronjob_watcher import CronJobWatcher
from app.definitions.registry import Registry
from app.kube.client import NamespacedClient
from app.telemetry import metrics
from benchmarks.memory import read_peak_rss_mib, read_pss_mib, read_rss_mib, reset_peak
from benchmarks.target import create_namespaces, delete_namespaces, open_namespace, read_configuration, wait_until
from schemas.cronjobs import parse_cronjob

_NAMESPACE = "cronjob-definitions"
_SYNC_SECONDS = 120.0


def build_cronjob(name: str) -> Json:
    """Return a CronJob like one of a team that mounts data and runs a sidecar. Its values are its own."""
    variables: list[Json] = [{"name": f"VARIABLE_{number}", "value": f"{name} {number}"} for number in range(8)]
    variables += [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{name}-api", "key": "token"}}},
    ]
    resources = {"requests": {"cpu": "400m", "memory": "400Mi"}, "limits": {"cpu": "400m", "memory": "400Mi"}}
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/app", "readOnly": True}]
    pod = {
        "restartPolicy": "Never",
        "initContainers": [{"name": "proxy", "image": "registry.example/proxy:2", "restartPolicy": "Always"}],
        "containers": [
            {
                "name": "main",
                "image": f"registry.example/{name}/app:1.2.3",
                "args": ["--input", f"/data/{name}/in", "--output", f"/data/{name}/out"],
                "env": variables,
                "resources": resources,
                "volumeMounts": mounts,
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": f"{name}-data"}},
            {"name": "config", "configMap": {"name": f"{name}-config"}},
        ],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "batch", "effect": "NoSchedule"}],
    }
    annotations = {
        "SlimFaas/Job": "true",
        "SlimFaas/DefaultVisibility": "Public",
        "SlimFaas/NumberParallelJob": "2",
        "SlimFaas/DependsOn": f"{name}-database,images",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "schedule": "0 0 * * *",
            "suspend": True,
            "jobTemplate": {"spec": {"backoffLimit": 1, "ttlSecondsAfterFinished": 3600, "template": {"spec": pod}}},
        },
    }


@contextmanager
def filled(kubeconfig: str, cronjobs: int) -> Iterator[NamespacedClient]:
    """Provide a namespace with this many CronJobs."""
    configuration = read_configuration(kubeconfig)
    create_namespaces(configuration, [_NAMESPACE])
    namespace = open_namespace(configuration, _NAMESPACE)
    try:
        for number in range(cronjobs):
            namespace.transport.call("POST", namespace.cronjobs.path, body=build_cronjob(f"job-{number:04d}"))
        yield namespace
    finally:
        delete_namespaces(configuration, [_NAMESPACE])


def count_calls() -> int:
    """Return how many calls this process has made, openings of watches included."""
    return sum(
        int(sample.value)
        for family in metrics.API_CALLS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def main() -> None:
    """Measure, and print one line per figure."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kubeconfig", required=True)
    options.add_argument("--cronjobs", type=int, default=200)
    options.add_argument("--idle-seconds", type=float, default=120.0)
    given = options.parse_args()
    with filled(given.kubeconfig, given.cronjobs) as namespace:
        registry = Registry({})
        watcher = CronJobWatcher(namespace, registry)
        parse_cronjob(build_cronjob("first"))  # the parser's own memory, which every configuration needs
        next(namespace.pages(namespace.cronjobs))

        pss_before, rss_before, cpu_before = read_pss_mib(), read_rss_mib(), time.process_time()
        reset_peak()
        watcher.start()
        seconds = wait_until(lambda: len(registry.all()) == given.cronjobs, _SYNC_SECONDS)
        assert seconds is not None, watcher.refusals()
        cpu_seconds = time.process_time() - cpu_before
        kept_mib, peak_mib = read_pss_mib() - pss_before, read_peak_rss_mib() - rss_before
        print(f"{given.cronjobs} definitions: {kept_mib:.2f} MiB kept, {peak_mib:.2f} MiB at most", flush=True)
        print(f"counted as {sum(watcher._sizes.values()) / 2**20:.2f} MiB")
        print(f"read in {seconds:.2f} s, {cpu_seconds:.2f} s of processor time")

        calls, used = count_calls(), resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(given.idle_seconds)
        now = resource.getrusage(resource.RUSAGE_SELF)
        idle_cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        print(f"idle for {given.idle_seconds:.0f} s: {count_calls() - calls} calls, {idle_cpu:.3f} s of processor time")
        watcher.stop()


if __name__ == "__main__":
    main()
