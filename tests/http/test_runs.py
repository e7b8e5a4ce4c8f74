"""Reading a run at its Location, and what is not a run."""

import json
import time

import pytest
from kubernetes import client

from tests.http.clients import SECRET, Caller, check_problem


def test_location__shows_the_queued_run(caller: Caller) -> None:
    """All keys are present; times that have not come yet are -1."""
    before = int(time.time() * 1000)
    accepted = caller.post("/job/public")
    run = caller.get(accepted.headers["Location"]).json

    assert accepted.json == {"Id": run["Id"], "Name": run["Name"], "Status": "Queued"}
    assert before <= run.pop("InQueueTimestamp") <= int(time.time() * 1000)
    assert run == {
        "Id": accepted.json["Id"],
        "Name": f"public-slimfaas-job-{accepted.json['Id']}",
        "Status": "Queued",
        "Reason": "WaitingForDependencies",
        "Message": "waits for nobody (not found)",
        "PositionInQueue": 1,
        "StartTimestamp": -1,
        "EndTimestamp": -1,
        "QueueDurationMilliseconds": -1,
        "RunDurationMilliseconds": -1,
        "Attempts": 0,
        "ExitCode": -1,
        "Result": "",
        "Image": "busybox:1",
        "Args": None,
        "Resources": {"Requests": {}, "Limits": {"cpu": "1"}},
        "DependsOn": ["nobody"],
        "Environments": ["SLIMFAAS_JOB_NAME", "SLIMFAAS_JOB_ID", "PASSWORD"],
        "Truncated": [],
        "StartedBy": "",
        "Schedule": "",
        "Notification": "",
    }
    assert SECRET not in str(run)


def test_environments__have_the_names_that_kubernetes_accepts(caller: Caller) -> None:
    """The API server stores them, too. One without a value is empty."""
    names = ["Logging:LogLevel:Default", "1A", "A B"]
    accepted = caller.post("/job/public", json.dumps({"Environments": [{"Name": name} for name in names]}))
    assert accepted.status_code == 202, accepted.text
    assert caller.get(accepted.headers["Location"]).json["Environments"][-3:] == names


def test_position_in_queue__follows_the_order_of_the_requests(caller: Caller) -> None:
    locations = [caller.post("/job/public").headers["Location"] for _ in range(3)]
    assert [caller.get(location).json["PositionInQueue"] for location in locations] == [1, 2, 3]


@pytest.mark.parametrize("run_id", ["aaaaaaaaaaaa", "AAAAAAAAAAAA", "a", "aaaaaaaaaaa1", "aaaaaaaaaaaa;", "..."])
def test_unknown_id__gets_404(caller: Caller, run_id: str) -> None:
    assert check_problem(caller.get(f"/job/public/{run_id}"), 404)["detail"] == "there is no such run"


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({}, id="without labels"),
        pytest.param({"slimfaas.dev/job": "public"}, id="not managed by the service"),
        pytest.param(
            {"app.kubernetes.io/managed-by": "slimfaas-jobs", "slimfaas.dev/job": "private"}, id="of another definition"
        ),
    ],
)
def test_job_that_is_not_a_run_of_the_definition__gets_404(
    caller: Caller, batch: client.BatchV1Api, namespace: str, labels: dict[str, str]
) -> None:
    """Its name alone does not make a Job a run."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox:1"}]}
    spec = {"suspend": True, "template": {"spec": pod}}
    metadata = {"name": "public-slimfaas-job-aaaaaaaaaaaa", "labels": labels}
    batch.create_namespaced_job(namespace, {"metadata": metadata, "spec": spec})

    check_problem(caller.get("/job/public/aaaaaaaaaaaa"), 404)


def test_deleted_run__gets_404(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    accepted = caller.post("/job/public")
    batch.delete_namespaced_job(accepted.json["Name"], namespace, propagation_policy="Background")
    check_problem(caller.get(accepted.headers["Location"]), 404)
