"""`?dryRun=true`: all checks of a real request, but nothing is stored and no secret is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import SECRET, Caller, check_problem
from tests.support.faults import Fault, FaultProxy, Refuse
from tests.support.servers import Server, write_kubeconfig

CONFIGURATION = {
    "Configurations": {
        "public": {
            "Image": "busybox:1",
            "Visibility": "Public",
            "Environments": [
                {"Name": "PASSWORD", "Value": SECRET},
                {"Name": "TOKEN", "SecretRef": {"Name": "the-name-of-a-secret", "Key": "the-key"}},
                {"Name": "LEVEL", "Value": SECRET},
            ],
            "EnvironmentsWhitelist": ["LEVEL", "OWN"],
        }
    }
}


@pytest.fixture
def caller_with_secrets(server: Server, namespace: str, tmp_path: Path) -> Caller:
    """Send requests to a service whose definition has secrets."""
    settings = Settings(
        configuration=json.dumps(CONFIGURATION), kubeconfig=str(write_kubeconfig(tmp_path, server, namespace))
    )
    return Caller(create_app(settings).test_client())


def container_in(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_dry_run__returns_the_job_and_stores_nothing(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """The Job has the API server's defaults."""
    response = caller.post("/job/public/path?dryRun=true&a=b", '{"Args": ["$1"], "BackoffLimit": 3}')
    assert response.status_code == 200
    assert "Location" not in response.headers
    job = response.json
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", namespace)
    assert "managedFields" not in job["metadata"]
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["completionMode"] == "NonIndexed"
    container = container_in(job)
    assert (container["image"], container["args"]) == ("busybox:1", ["$$1"])
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["SLIMFAAS_JOB_PATH"] == "path"
    assert variables["SLIMFAAS_JOB_QUERY"] == "dryRun=true&a=b"
    assert batch.list_namespaced_job(namespace).items == []


def test_dry_run__hides_the_values_of_the_definitions_environment(caller_with_secrets: Caller) -> None:
    """Values of the request are shown."""
    body = '{"Environments": [{"Name": "LEVEL", "Value": "high"}, {"Name": "OWN", "Value": "mine"}]}'
    response = caller_with_secrets.post("/job/public?dryRun=true", body)
    ours = container_in(response.json)["env"]
    assert [variable for variable in ours if not variable["name"].startswith("SLIMFAAS_")] == [
        {"name": "PASSWORD"},
        {"name": "TOKEN"},
        {"name": "LEVEL", "value": "high"},
        {"name": "OWN", "value": "mine"},
    ]
    for word in (SECRET, "the-name-of-a-secret", "the-key"):
        assert word not in response.text


def test_dry_run__is_refused_like_a_real_request(caller: Caller) -> None:
    assert "errors" in check_problem(caller.post("/job/public?dryRun=true", '{"Image": "evil:1"}'), 422)
    check_problem(caller.post("/job/public?dryRun=true", "no JSON"), 400)
    check_problem(caller.post("/job/private?dryRun=true"), 403)
    check_problem(caller.post("/job/absent?dryRun=true"), 404)


@pytest.mark.parametrize(
    "query",
    [
        "dryRun",
        "dryRun=",
        "dryRun=1",
        "dryRun=True",
        "dryRun=All",
        "dryrun=true",
        "dryRun=true&dryRun=true",
        "dry%52un",
    ],
)
def test_dry_run__that_is_misspelt_gets_400(
    caller: Caller, batch: client.BatchV1Api, namespace: str, query: str
) -> None:
    assert "dryRun" in check_problem(caller.post(f"/job/public?{query}"), 400)["detail"]
    assert batch.list_namespaced_job(namespace).items == []


def test_dry_run__that_is_false_starts_a_run_with_the_query_unchanged(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    assert caller.post("/job/public?dryRun=false").status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    variables = {variable.name: variable.value for variable in job.spec.template.spec.containers[0].env}
    assert variables["SLIMFAAS_JOB_QUERY"] == "dryRun=false"


def test_dry_run__does_not_use_the_idempotency_key(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """A malformed key is refused all the same."""
    headers = {"Idempotency-Key": "a"}
    assert caller.post("/job/public?dryRun=true", headers=headers).status_code == 200
    first = caller.post("/job/public", headers=headers)
    assert "Idempotency-Replayed" not in first.headers
    dry = caller.post("/job/public?dryRun=true", headers=headers)
    assert dry.status_code == 200
    assert dry.json["metadata"]["name"] != first.json["Name"]
    check_problem(caller.post("/job/public?dryRun=true", headers={"Idempotency-Key": ","}), 400)
    assert len(batch.list_namespaced_job(namespace).items) == 1


@pytest.mark.parametrize(
    ("refusal", "status"),
    [(Refuse(500, "InternalError"), 503), (Refuse(403, "Forbidden", "exceeded quota: jobs"), 429)],
)
def test_dry_run__that_the_api_server_refuses_is_not_retried(
    caller_by_proxy: Caller, proxy: FaultProxy, refusal: Refuse, status: int
) -> None:
    """The status is that of a real request."""
    proxy.add(Fault(refusal, method="POST"))
    detail = check_problem(caller_by_proxy.post("/job/public?dryRun=true"), status)["detail"]
    assert ("quota" in detail) == (status == 429)
    assert len(proxy.requests) == 1
