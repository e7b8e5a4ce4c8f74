"""`GET /jobs/status`: the state of the definitions that the caller may use."""

import json
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.definitions.registry import Registry
from app.factory import create_app
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.runs.definition_status import DefinitionStatuses
from app.settings import Settings
from schemas.configuration import parse_configuration
from tests.http.clients import Caller, check_problem
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig

CONFIGURATION = json.dumps(
    {
        "Configurations": {
            "public": {
                "Image": "busybox:1",
                "Visibility": "Public",
                "NumberParallelJob": 2,
                "DependsOn": ["web", "store", "absent"],
                "Environments": [{"Name": "PASSWORD", "Value": "the-value-of-a-variable"}],
            },
            "private": {"Image": "busybox:2", "MaxQueued": 5},
        }
    }
)


@pytest.fixture
def start(server: Server, namespace: str, tmp_path: Path) -> Callable[..., Caller]:
    """Return a function that starts the service without its dispatcher."""

    def create(**settings: Any) -> Caller:
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
        return Caller(
            create_app(Settings(configuration=CONFIGURATION, kubeconfig=kubeconfig, **settings)).test_client()
        )

    return create


def make_workload(name: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "busybox:1", "args": ["sleep", "600"]}]}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    spec["template"] |= {"spec": pod}
    return {"metadata": {"name": name}, "spec": spec}


def test_status__shows_slots_runs_and_dependencies(
    start: Callable[..., Caller], server: Server, batch: client.BatchV1Api, namespace: str
) -> None:
    """Finished runs are not counted."""
    apps: Any = client.AppsV1Api(server.admin)
    apps.create_namespaced_deployment(namespace, make_workload("web"))
    apps.create_namespaced_stateful_set(namespace, make_workload("store") | {})
    caller = start()
    names = [caller.post("/job/public").json["Name"] for _ in range(3)]
    batch.patch_namespaced_job(names[0], namespace, {"spec": {"suspend": False}})

    (public,) = caller.get("/jobs/status").json
    messages = {dependency["Name"]: dependency.pop("Message") for dependency in public["DependsOn"]}
    assert public == {
        "Name": "public",
        "Visibility": "Public",
        "Image": "busybox:1",
        "NumberParallelJob": 2,
        "ActiveRuns": 1,
        "QueueLength": 2,
        "MaxQueued": None,
        "DependsOn": [
            {"Name": "web", "Kind": "Deployment", "Ready": False, "ReadyReplicas": 0},
            {"Name": "store", "Kind": "StatefulSet", "Ready": False, "ReadyReplicas": 0},
            {"Name": "absent", "Kind": "", "Ready": False, "ReadyReplicas": 0},
        ],
    }
    assert "0 of 1 ready" in messages["web"]
    assert "0 of 1 ready" in messages["store"]
    assert messages["absent"] == "not found"


def test_status__lists_private_definitions_for_trusted_callers_only(start: Callable[..., Caller]) -> None:
    assert [view["Name"] for view in start().get("/jobs/status").json] == ["public"]
    trusting = start(trusted_networks=(ip_network("203.0.113.0/24"),))
    listed = trusting.get("/jobs/status").json
    assert [view["Name"] for view in listed] == ["public", "private"]
    assert listed[1]["MaxQueued"] == 5
    forwarded = trusting.get("/jobs/status", headers={"X-Forwarded-For": "203.0.113.7"})
    assert [view["Name"] for view in forwarded.json] == ["public"]


def test_status__shows_nothing_of_the_environment(start: Callable[..., Caller]) -> None:
    text = start().get("/jobs/status").text
    assert "PASSWORD" not in text
    assert "the-value" not in text


def test_status__costs_three_lists_a_second_for_all_callers(server: Server, namespace: str, tmp_path: Path) -> None:
    """Runs, Deployments and StatefulSets, however many definitions there are."""
    now = [0.0]
    definitions = parse_configuration(CONFIGURATION)
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        registry = Registry(definitions)
        statuses = DefinitionStatuses(
            NamespacedClient(connect(str(kubeconfig), namespace)), registry.all, clock=lambda: now[0]
        )
        for _ in range(5):
            statuses.describe(registry.all())
        assert len(proxy.requests) == 3
        now[0] = 1.0
        statuses.describe(registry.all())
        assert len(proxy.requests) == 6
        alone = Registry({"private": definitions["private"]})
        DefinitionStatuses(NamespacedClient(connect(str(kubeconfig), namespace)), alone.all).describe(alone.all())
        assert len(proxy.requests) == 7, "where nothing depends on anything no workload is read"


def test_status__gets_503_during_an_api_server_outage(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    check_problem(caller_by_proxy.get("/jobs/status"), 503)
    proxy.heal()
    assert caller_by_proxy.get("/jobs/status").status_code == 200


def test_status__with_a_query_parameter_gets_400(start: Callable[..., Caller]) -> None:
    assert "status" in check_problem(start().get("/jobs/status?status=Queued"), 400)["detail"]
