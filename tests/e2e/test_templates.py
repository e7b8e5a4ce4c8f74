"""Runs whose pods Kubernetes takes away, with and without a template."""

from typing import Any

import pytest
from kubernetes import client

from tests.e2e.callers import Replica
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import until

Json = dict[str, Any]

LONG = {"command": ["sleep", "600"], "env": [{"name": "TESTNODE_RUNS_FOR", "value": "600s"}]}


def template(container: Json, *, metadata: Json | None = None, **pod: Any) -> Json:
    """A template whose second container is the run's."""
    annotations = {"kubectl.kubernetes.io/default-container": "main", **(metadata or {})}
    helper = {"name": "helper", "image": "busybox:1", "command": ["sleep", "1"]}
    containers = [helper, {"name": "main", "image": "busybox:1", **container}]
    spec = {"restartPolicy": "Never", "containers": containers, **pod}
    return {"spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}}}


def start(service: ServiceProcess, definition: str, body: Json | None = None) -> tuple[str, str]:
    """Start a run; returns its path and the name of its Job."""
    response = service.post(f"/job/{definition}", body)
    assert response.status_code == 202, response.text
    accepted = response.json()
    return f"/job/{definition}/{accepted['Id']}", accepted["Name"]


def pods_of(server: Server, namespace: str, job: str) -> list[Any]:
    """The pods of a Job that are not being deleted."""
    core = client.CoreV1Api(server.admin)
    pods = core.list_namespaced_pod(namespace, label_selector=f"batch.kubernetes.io/job-name={job}").items
    return [pod for pod in pods if pod.metadata.deletion_timestamp is None]


EVICTED_ONCE = [
    pytest.param({}, False, id="ignored by default"),
    pytest.param({"podReplacementPolicy": "TerminatingOrFailed"}, True, id="counted where the template excludes it"),
]


@pytest.mark.real_only("the embedded cluster has no Eviction API")
@pytest.mark.parametrize(("policy", "fails"), EVICTED_ONCE)
def test_run__whose_pod_is_evicted_uses_up_no_retry(
    server: Server, namespace: str, replica: Replica, policy: Json, fails: bool
) -> None:
    """A drained node evicts its pods: https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/."""
    job = template(LONG, metadata={"testnode/runs-for": "600s"})
    job["spec"] |= {"backoffLimit": 0, **policy}
    core = client.CoreV1Api(server.admin)
    with replica({"train": {"JobTemplate": job, "Visibility": "Public"}}) as service:
        path, name = start(service, "train")
        until(lambda: service.get(path).json()["Status"] == "Running")
        (first,) = pods_of(server, namespace, name)

        metadata = client.V1ObjectMeta(name=first.metadata.name, namespace=namespace)
        core.create_namespaced_pod_eviction(first.metadata.name, namespace, client.V1Eviction(metadata=metadata))

        if fails:
            until(lambda: service.get(path).json()["Status"] == "Failed")
            return
        until(lambda: [pod.metadata.uid for pod in pods_of(server, namespace, name)] not in ([], [first.metadata.uid]))
        until(lambda: service.get(path).json()["Status"] == "Running")
        found = client.BatchV1Api(server.admin).read_namespaced_job(name, namespace)
        assert not found.status.failed


@pytest.mark.real_only("the embedded cluster has no Eviction API")
def test_run_without_a_template__whose_pod_is_evicted_uses_up_no_retry(
    server: Server, namespace: str, replica: Replica
) -> None:
    definition = {
        "Image": "busybox:1",
        "Visibility": "Public",
        "BackoffLimit": 0,
        "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "600s"}],
    }
    core = client.CoreV1Api(server.admin)
    with replica({"plain": definition}) as service:
        path, name = start(service, "plain")
        until(lambda: service.get(path).json()["Status"] == "Running")
        (first,) = pods_of(server, namespace, name)

        metadata = client.V1ObjectMeta(name=first.metadata.name, namespace=namespace)
        core.create_namespaced_pod_eviction(first.metadata.name, namespace, client.V1Eviction(metadata=metadata))

        until(lambda: [pod.metadata.uid for pod in pods_of(server, namespace, name)] not in ([], [first.metadata.uid]))
        assert service.get(path).json()["Status"] not in ("Failed", "Succeeded")
