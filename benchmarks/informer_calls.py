"""Measure the cost of the client's generated classes.

python -m benchmarks.informer_calls import-raw|import-models|create …
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.memory import read_pss_mib

_CALLS = 200


def import_raw() -> dict[str, float]:
    """Import the parts of the client that the service's transport needs."""
    pss_before, began = read_pss_mib(), time.perf_counter()
    from kubernetes import config
    from kubernetes.client import ApiClient, Configuration
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options

    assert all((config, ApiClient, Configuration, tcp_keepalive_socket_options))
    return {"mib": read_pss_mib() - pss_before, "ms": (time.perf_counter() - began) * 1000}


def import_models() -> dict[str, float]:
    """Import these parts and the generated classes of the four API groups that the service calls."""
    figures = import_raw()
    pss_before, began = read_pss_mib(), time.perf_counter()
    from kubernetes.client import AppsV1Api, BatchV1Api, CoordinationV1Api, CoreV1Api
    from kubernetes.informer import SharedInformer
    from kubernetes.leaderelection.leaderelection import LeaderElection

    assert all((AppsV1Api, BatchV1Api, CoordinationV1Api, CoreV1Api, SharedInformer, LeaderElection))
    figures["mib"] += read_pss_mib() - pss_before
    figures["ms"] += (time.perf_counter() - began) * 1000
    return figures


def create(kubeconfig: str, name: str) -> dict[str, float]:
    """Create the same Jobs as dicts and as models, in turns; return medians per call."""
    from kubernetes.client import ApiClient, BatchV1Api

    from benchmarks.target import build_sample, open_namespace, read_configuration

    configuration = read_configuration(kubeconfig)
    namespace = open_namespace(configuration, name)
    client = ApiClient(configuration)
    jobs = BatchV1Api(client)
    write: Any = client.sanitize_for_serialization  # the client has no annotations here
    assert write(_model("c" * 12)) == _comparable(build_sample("c" * 12))
    methods: dict[str, Callable[[str], object]] = {
        "raw": lambda run_id: namespace.create_job(build_sample(run_id)),
        "model": lambda run_id: jobs.create_namespaced_job(name, _model(run_id)),
    }
    wall: dict[str, list[float]] = {method: [] for method in methods}
    cpu: dict[str, list[float]] = {method: [] for method in methods}
    for call in range(_CALLS):
        for method, make in methods.items():
            wall_before, cpu_before = time.perf_counter(), time.thread_time()
            make(f"{method[0]}{call:011d}")
            if call:  # the first call opens the connection
                wall[method].append((time.perf_counter() - wall_before) * 1000)
                cpu[method].append((time.thread_time() - cpu_before) * 1000)
    return {
        f"{method}_{kind}_ms": statistics.median(times[method])
        for method in methods
        for kind, times in (("wall", wall), ("cpu", cpu))
    }


def _comparable(job: dict[str, Any]) -> dict[str, Any]:
    """Return the Job with an empty queueing time."""
    job["metadata"]["annotations"]["slimfaas.dev/queued-at"] = ""
    return job


def _model(run_id: str) -> Any:
    """Return the Job of `build_sample` as the client's classes."""
    from kubernetes.client import (
        V1Container,
        V1EnvVar,
        V1Job,
        V1JobSpec,
        V1ObjectMeta,
        V1PodSpec,
        V1PodTemplateSpec,
        V1ResourceRequirements,
    )

    from benchmarks.target import SPEC

    labels = {"app.kubernetes.io/managed-by": "slimfaas-jobs", "slimfaas.dev/job": SPEC.definition}
    variables = [("SLIMFAAS_JOB_NAME", SPEC.definition), ("SLIMFAAS_JOB_ID", run_id)]
    variables += [(variable.name, variable.value or "") for variable in SPEC.environments]
    container = V1Container(
        name=SPEC.definition,
        image=SPEC.image,
        args=list(SPEC.args or ()),
        env=[V1EnvVar(name=name, value=value) for name, value in variables],
        resources=V1ResourceRequirements(requests=dict(SPEC.requests), limits=dict(SPEC.limits)),
        termination_message_policy="FallbackToLogsOnError",
    )
    return V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=V1ObjectMeta(
            name=f"{SPEC.definition}-slimfaas-job-{run_id}",
            labels=labels,
            annotations={
                "slimfaas.dev/queued-at": "",
                "slimfaas.dev/depends-on": '["fibonacci1"]',
                "slimfaas.dev/call": run_id,
            },
        ),
        spec=V1JobSpec(
            suspend=True,
            parallelism=1,
            completions=1,
            backoff_limit=SPEC.backoff_limit,
            ttl_seconds_after_finished=SPEC.ttl_seconds_after_finished,
            template=V1PodTemplateSpec(
                metadata=V1ObjectMeta(labels=labels),
                spec=V1PodSpec(restart_policy=SPEC.restart_policy, containers=[container]),
            ),
        ),
    )


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description="The cost of the client's generated classes.")
    parser.add_argument("what", choices=["import-raw", "import-models", "create"])
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    given = parser.parse_args()
    if given.what == "import-raw":
        figures = import_raw()
    elif given.what == "import-models":
        figures = import_models()
    else:
        figures = create(given.kubeconfig, given.namespace)

    import json  # here, because its import is part of the measurement

    print(json.dumps(figures))


if __name__ == "__main__":
    main()
