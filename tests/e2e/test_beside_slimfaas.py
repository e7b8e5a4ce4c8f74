"""What a SlimFaas in the same namespace reads of our runs: the calls and rules of its source, version 0.81.

`KubernetesService.Jobs.cs` (ListJobsAsync) lists all Jobs, and for each one the pods with its name in a label.
`SlimJobsWorker.cs` keeps the functions awake that those Jobs name, and `FunctionEndpointsHelpers.cs`
(MessageComeFromNamespaceInternal) trusts the addresses of those pods.
"""

from typing import Any, NamedTuple

from kubernetes import client

from tests.e2e.callers import Replica
from tests.support.servers import Server
from tests.support.waiting import until


class SlimFaasJob(NamedTuple):
    """A Job as SlimFaas reads it.

    Attributes:
        definition: the part of its name that SlimFaas takes for the definition's.
        awake: the functions that SlimFaas starts, and keeps from being scaled to zero.
        trusted: the addresses that SlimFaas trusts because of it.
    """

    definition: str
    awake: list[str]
    trusted: list[str]


def read_as_slimfaas(server: Server, namespace: str) -> dict[str, SlimFaasJob]:
    """Return the Jobs of a namespace as SlimFaas reads them, by definition."""
    batch, core = client.BatchV1Api(server.admin), client.CoreV1Api(server.admin)
    found = {}
    for job in batch.list_namespaced_job(namespace).items:
        pods = core.list_namespaced_pod(namespace, label_selector=f"slimfaas-job-name={job.metadata.name}").items
        depends_on = (job.metadata.annotations or {}).get("SlimFaas/DependsOn")
        is_run = "-slimfaas-job-" in job.metadata.name
        definition = job.metadata.name.split("-slimfaas-job-")[0]
        awake = depends_on.split(",") if is_run and depends_on is not None else []
        found[definition] = SlimFaasJob(definition, awake, [pod.status.pod_ip for pod in pods if pod.status.pod_ip])
    return found


LONG = {
    "Image": "busybox:1",
    "Command": ["sleep", "600"],
    "Visibility": "Public",
    "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "600s"}],
}


def test_slimfaas__wakes_and_trusts_for_our_runs_as_for_its_own(
    server: Server, namespace: str, replica: Replica
) -> None:
    """Only for runs that Kubernetes removes, and it trusts only those of private definitions."""
    apps = client.AppsV1Api(server.admin)
    pod = {"metadata": {"labels": {"app": "base"}}, "spec": {"containers": [{"name": "a", "image": "busybox:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "base"}}, "template": pod}
    apps.create_namespaced_deployment(namespace, {"metadata": {"name": "base"}, "spec": spec})  # type: ignore[arg-type]
    brief = {"TtlSecondsAfterFinished": 60}
    definitions: dict[str, Any] = {
        "waits": {**LONG, **brief, "DependsOn": ["base"]},
        "waits-kept": {**LONG, "DependsOn": ["base"]},
        "private": {**LONG, **brief, "Visibility": "Private"},
        "private-kept": {**LONG, "Visibility": "Private"},
        "public": {**LONG, **brief},
    }
    with replica(definitions, SLIMFAAS_TRUSTED_NETWORKS="127.0.0.0/8") as service:
        paths = {}
        for name in definitions:
            accepted = service.post(f"/job/{name}")
            assert accepted.status_code == 202, accepted.text
            paths[name] = f"/job/{name}/{accepted.json()['Id']}"
        for name in ("private", "private-kept", "public"):
            until(lambda name=name: service.get(paths[name]).json()["Status"] == "Running")

        found = read_as_slimfaas(server, namespace)

        assert found.keys() == definitions.keys()
        assert {name: job.awake for name, job in found.items() if job.awake} == {"waits": ["base"]}
        assert [name for name, job in found.items() if job.trusted] == ["private"]
