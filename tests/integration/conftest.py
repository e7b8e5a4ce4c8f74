"""Fixtures: an embedded cluster for the whole session, its official client, and the harness for dispatchers."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as kubernetes

from devcluster.cluster import Cluster, Options
from tests.integration.apis import Apis, Eventually, MakeJob, Manifest
from tests.integration.dispatching import ClusterFixture
from tests.support.faults import FaultProxy
from tests.support.observer import Observer
from tests.support.servers import Server
from tests.support.waiting import until


@pytest.fixture(scope="session")
def embedded_cluster() -> Iterator[Cluster]:
    """Start an embedded cluster that retries failed pods quickly; the default is 10 s and more."""
    with Cluster(Options(back_off_seconds=0.02)) as running:
        yield running


@pytest.fixture(scope="session")
def client(embedded_cluster: Cluster) -> Iterator[kubernetes.ApiClient]:
    """Provide the official client for the cluster."""
    with kubernetes.ApiClient(kubernetes.Configuration(host=embedded_cluster.url)) as api_client:
        yield api_client


@pytest.fixture
def apis(client: kubernetes.ApiClient) -> Iterator[Apis]:
    """Provide the official APIs with the test's own namespace, which is emptied afterwards."""
    found = Apis(
        kubernetes.BatchV1Api(client),
        kubernetes.CoreV1Api(client),
        kubernetes.AppsV1Api(client),
        f"test-{uuid.uuid4().hex[:8]}",
    )
    yield found
    for delete in (
        found.batch.delete_collection_namespaced_job,
        found.apps.delete_collection_namespaced_deployment,
        found.apps.delete_collection_namespaced_stateful_set,
        found.core.delete_collection_namespaced_pod,
    ):
        delete(found.namespace, propagation_policy="Background", grace_period_seconds=0)


@pytest.fixture
def eventually() -> Eventually:
    """Provide a function that waits until a condition holds."""
    return until


@pytest.fixture
def make_job() -> MakeJob:
    """Provide a function that creates the manifest of a Job."""

    def make(name: str, *args: str, image: str = "busybox:1", pod: Manifest | None = None, **spec: Any) -> Manifest:
        container = {"name": "main", "image": image, "args": list(args)}
        template = {"spec": {"restartPolicy": "Never", "containers": [container], **(pod or {})}}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": template, **spec},
        }

    return make


@pytest.fixture
def cluster(server: Server, namespace: str, tmp_path: Path) -> Iterator[ClusterFixture]:
    """Provide a namespace for dispatchers, which reach the API server through a fault proxy."""
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        yield ClusterFixture(server, namespace, tmp_path, proxy)


@pytest.fixture
def cut_off(cluster: ClusterFixture) -> Iterator[FaultProxy]:
    """Provide a second proxy, for a dispatcher that loses its connection while others keep theirs."""
    with FaultProxy(cluster.server.url, ca=cluster.server.ca_file) as proxy:
        yield proxy


@pytest.fixture
def seen(cluster: ClusterFixture) -> Iterator[Observer]:
    """Provide an independent observer of the namespace's runs."""
    with Observer(cluster.server.admin, cluster.namespace) as observer:
        yield observer
