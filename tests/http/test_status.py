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
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.schedule_records import configured_targets
from app.runs.definition_status import DefinitionStatuses
from app.settings import Settings
from schemas.configuration import parse_configuration
from schemas.request import REQUEST_FIELDS
from tests.http.clients import Caller, check_problem
from tests.support.faults import Fault, FaultProxy, Refuse
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until

CONFIGURATION = json.dumps(
    {
        "Configurations": {
            "public": {
                "Image": "busybox:1",
                "Visibility": "Public",
                "NumberParallelJob": 2,
                "DependsOn": ["web", "store", "absent"],
                "ImagesWhitelist": ["busybox:*"],
                "Resources": {"Limits": {"cpu": "1"}},
                "Environments": [{"Name": "PASSWORD", "Value": "the-value-of-a-variable"}],
            },
            "private": {"Image": "busybox:2", "MaxQueued": 5, "Overridable": ["Image", "Args"]},
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
    caller = start(public_listing=True)
    body = '{"Args": ["sleep", "600"]}'  # otherwise the run may have ended before it is looked at
    names = [caller.post("/job/public", body).json["Name"] for _ in range(3)]
    batch.patch_namespaced_job(names[0], namespace, {"spec": {"suspend": False}})

    until(lambda: caller.get("/jobs/status").json[0]["RunningJobs"][0]["StartTimestamp"] > 0)

    (public,) = caller.get("/jobs/status").json
    [active] = public.pop("RunningJobs")
    assert active.pop("InQueueTimestamp") > 0
    assert active.pop("Status") in ("Pending", "Running")
    assert active.keys() == {"Name", "ElementId", "StartTimestamp"}
    assert (active["Name"], active["ElementId"]) == (names[0], names[0][-12:])
    messages = {dependency["Name"]: dependency.pop("Message") for dependency in public["DependsOn"]}
    assert public == {
        "Name": "public",
        "Visibility": "Public",
        "Image": "busybox:1",
        "NumberParallelJob": 2,
        "ActiveRuns": 1,
        "QueueLength": 2,
        "MaxQueued": None,
        "Overridable": [field for field in REQUEST_FIELDS if field != "Priority"],
        "Source": "Configuration",
        "DependsOn": [
            {"Name": "web", "Kind": "Deployment", "Ready": False, "ReadyReplicas": 0},
            {"Name": "store", "Kind": "StatefulSet", "Ready": False, "ReadyReplicas": 0},
            {"Name": "absent", "Kind": "", "Ready": False, "ReadyReplicas": 0},
        ],
        "ImagesWhitelist": ["busybox:*"],
        "Resources": {"Requests": {}, "Limits": {"cpu": "1"}},
        "Schedules": [],
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
    assert listed[1]["Overridable"] == ["Args", "Image"]
    forwarded = trusting.get("/jobs/status", headers={"X-Forwarded-For": "203.0.113.7"})
    assert [view["Name"] for view in forwarded.json] == ["public"]


def test_status__shows_only_names_and_slots_to_untrusted_callers(start: Callable[..., Caller]) -> None:
    caller = start()
    caller.post("/job/public")
    assert caller.get("/jobs/status").json == [
        {"Name": "public", "Visibility": "Public", "NumberParallelJob": 2, "ActiveRuns": 0}
    ]


def test_status__has_the_same_answer_under_its_name_in_slimfaas(start: Callable[..., Caller]) -> None:
    caller = start()
    assert caller.get("/status-jobs").json == caller.get("/jobs/status").json != []
    check_problem(caller.get("/status-jobs?status=Queued"), 400)


def test_status__shows_a_bounded_number_of_active_runs(
    start: Callable[..., Caller], batch: client.BatchV1Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither memory nor the response grows with the slots. `ActiveRuns` counts all."""
    monkeypatch.setattr("app.runs.definition_status._MAX_RUNNING_JOBS", 2)
    caller = start(public_listing=True)
    for _ in range(3):
        name = caller.post("/job/public", '{"Args": ["sleep", "600"]}').json["Name"]
        batch.patch_namespaced_job(name, namespace, {"spec": {"suspend": False}})
    (public,) = caller.get("/jobs/status").json
    assert (public["ActiveRuns"], len(public["RunningJobs"])) == (3, 2)
    first, second = (shown["InQueueTimestamp"] for shown in public["RunningJobs"])
    assert first <= second


def test_status__shows_nothing_of_the_environment(start: Callable[..., Caller]) -> None:
    text = start(public_listing=True).get("/jobs/status").text
    assert "PASSWORD" not in text
    assert "the-value" not in text


def test_status__costs_three_lists_a_second_for_all_callers(server: Server, namespace: str, tmp_path: Path) -> None:
    """Runs, Deployments and StatefulSets, however many definitions there are; and schedules every ten seconds."""
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
        assert len(proxy.requests) == 4
        now[0] = 1.0
        statuses.describe(registry.all())
        assert len(proxy.requests) == 7
        now[0] = 10.0
        statuses.describe(registry.all())
        assert len(proxy.requests) == 11
        alone = Registry({"private": definitions["private"]})
        DefinitionStatuses(NamespacedClient(connect(str(kubeconfig), namespace)), alone.all).describe(alone.all())
        assert len(proxy.requests) == 13, "where nothing depends on anything no workload is read"


def test_status__shows_schedules_and_those_that_have_no_cronjob(
    server: Server, batch: client.BatchV1Api, namespace: str, tmp_path: Path
) -> None:
    value = json.loads(CONFIGURATION)
    value["Schedules"] = {"public": [{"Schedule": "0 0 1 1 *"}, {"Schedule": "@daily", "TimeZone": "Europe/Paris"}]}
    definitions = parse_configuration(json.dumps(value))
    yearly, _ = configured_targets(definitions).values()
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)

        def shown() -> dict[str, tuple[str, bool]]:
            """Status of each schedule, and whether there is a next time."""
            reader = NamespacedClient(connect(str(kubeconfig), namespace))
            views = DefinitionStatuses(reader, Registry(definitions).all).describe([definitions["public"]])[0].schedules
            return {view.schedule: (view.status, view.next_timestamp > 0) for view in views}

        assert shown() == {"0 0 1 1 *": ("Missing", False), "@daily": ("Missing", False)}
        batch.create_namespaced_cron_job(namespace, yearly.build())
        assert shown() == {"0 0 1 1 *": ("Active", True), "@daily": ("Missing", False)}
        edited = {"metadata": {"annotations": {labels.SCHEDULE_EDITED_ANNOTATION: "x"}}}
        batch.patch_namespaced_cron_job(yearly.name, namespace, edited)
        assert shown()["0 0 1 1 *"] == ("Edited", True)
        batch.patch_namespaced_cron_job(yearly.name, namespace, {"spec": {"suspend": True}})
        assert shown()["0 0 1 1 *"] == ("Suspended", False)
        proxy.add(Fault(Refuse(403, "Forbidden"), path=r"/cronjobs$"))
        assert shown() == {}, "nobody knows"


def test_status__gets_503_during_an_api_server_outage(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    check_problem(caller_by_proxy.get("/jobs/status"), 503)
    proxy.heal()
    assert caller_by_proxy.get("/jobs/status").status_code == 200


def test_status__with_a_query_parameter_gets_400(start: Callable[..., Caller]) -> None:
    assert "status" in check_problem(start().get("/jobs/status?status=Queued"), 400)["detail"]
