"""`?dryRun=true`: everything that starting a run takes, but nothing is stored and nothing is given away."""

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
        }
    }
}


@pytest.fixture
def careful(server: Server, namespace: str, tmp_path: Path) -> Caller:
    """Calls a service whose definition has secrets."""
    settings = Settings(
        configuration=json.dumps(CONFIGURATION), kubeconfig=str(write_kubeconfig(tmp_path, server, namespace))
    )
    return Caller(create_app(settings).test_client())


def container_in(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_a_dry_run_answers_with_the_job_and_stores_nothing(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """The Job as the API server would store it, its defaults included."""
    answer = caller.post("/job/public/path?dryRun=true&a=b", '{"Args": ["$1"], "BackoffLimit": 3}')
    assert answer.status_code == 200
    assert "Location" not in answer.headers
    job = answer.json
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


def test_a_dry_run_shows_of_the_definitions_environment_the_names_only(careful: Caller) -> None:
    """Neither values nor references; what the request gives itself is shown as it gave it."""
    body = '{"Environments": [{"Name": "LEVEL", "Value": "high"}, {"Name": "OWN", "Value": "mine"}]}'
    answer = careful.post("/job/public?dryRun=true", body)
    ours = container_in(answer.json)["env"]
    assert [variable for variable in ours if not variable["name"].startswith("SLIMFAAS_")] == [
        {"name": "PASSWORD"},
        {"name": "TOKEN"},
        {"name": "LEVEL", "value": "high"},
        {"name": "OWN", "value": "mine"},
    ]
    for word in (SECRET, "the-name-of-a-secret", "the-key"):
        assert word not in answer.text


def test_a_dry_run_is_refused_like_the_call_itself(caller: Caller) -> None:
    """The same checks, the same answers."""
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
def test_what_only_looks_like_a_dry_run_starts_nothing(
    caller: Caller, batch: client.BatchV1Api, namespace: str, query: str
) -> None:
    """Who meant to try something out must not find it running."""
    assert "dryRun" in check_problem(caller.post(f"/job/public?{query}"), 400)["detail"]
    assert batch.list_namespaced_job(namespace).items == []


def test_no_dry_run_starts_a_run_which_sees_the_query_as_it_was_sent(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """`dryRun=false` is part of the query that the run gets, like all of it."""
    assert caller.post("/job/public?dryRun=false").status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    variables = {variable.name: variable.value for variable in job.spec.template.spec.containers[0].env}
    assert variables["SLIMFAAS_JOB_QUERY"] == "dryRun=false"


def test_a_dry_run_takes_no_notice_of_a_key(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """It neither uses the key up nor is answered with the key's run; but what is no key is refused as ever."""
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
def test_a_dry_run_that_the_api_server_can_not_do_gets_the_answer_of_the_call(
    caller_by_proxy: Caller, proxy: FaultProxy, refusal: Refuse, status: int
) -> None:
    """It is asked once; the caller may ask again as often as they like."""
    proxy.add(Fault(refusal, method="POST"))
    detail = check_problem(caller_by_proxy.post("/job/public?dryRun=true"), status)["detail"]
    assert ("quota" in detail) == (status == 429)
    assert len(proxy.requests) == 1
