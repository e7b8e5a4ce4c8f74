"""Runs that take too long, or never start: what their callers see, and that their slots are free again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.http.clients import Caller, check_problem, faults
from tests.http.dispatching import dispatching, fares, has, make_caller, start, wait_for
from tests.support.servers import Server, write_kubeconfig

PUBLIC = {"Visibility": "Public"}
DEFINITIONS = {
    "Configurations": {
        "short": {**PUBLIC, "Image": "busybox:1", "Args": ["sleep", "1"], "TimeoutSeconds": 60},
        "unpullable": {**PUBLIC, "Image": "missing.invalid/app:1", "PendingTimeoutSeconds": 1},
        "homeless": {**PUBLIC, "Image": "busybox:1", "ServiceAccountName": "nobody", "PendingTimeoutSeconds": 1},
        "huge": {
            **PUBLIC,
            "Image": "busybox:1",
            "Resources": {"Requests": {"cpu": "5k"}},
            "PendingTimeoutSeconds": 1,
        },
        "free": {**PUBLIC, "Image": "busybox:1", "Args": ["true"], "PendingTimeoutSeconds": 600},
    }
}


@pytest.fixture
def at_work(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Calls an application with a dispatcher beside it."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with dispatching(kubeconfig, DEFINITIONS):
        yield make_caller(kubeconfig, DEFINITIONS)


def test_a_run_that_takes_too_long_is_ended(at_work: Caller) -> None:
    """It has failed, for a reason that its caller knows from Kubernetes."""
    fields = {"TimeoutSeconds": 2, "Environments": fares(seconds=60)}
    run = wait_for(at_work, start(at_work, "short", "sleep", "60", **fields), has(Status="Failed"))
    assert run["Reason"] == "DeadlineExceeded"
    assert run["Message"]


def test_the_time_in_the_queue_does_not_count(at_work: Caller) -> None:
    """The deadline begins with the start of the run, not with its creation."""
    environments = fares(seconds=3)
    first = start(at_work, "short", "sleep", "3", Environments=environments)
    second = start(at_work, "short", "true", TimeoutSeconds=2, Environments=fares(seconds=0))
    run = wait_for(at_work, second, lambda run: run["EndTimestamp"] != -1)
    assert run["Status"] == "Succeeded"
    assert run["QueueDurationMilliseconds"] >= 2000
    assert wait_for(at_work, first, has(Status="Succeeded"))


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("unpullable", "ImagePull"),
        pytest.param("homeless", "no pod could be made within 1 s"),
        pytest.param("huge", "Unschedulable", marks=pytest.mark.real_only("its node has no bounds")),
    ],
)
def test_a_run_that_can_not_start_is_given_up_and_says_why(at_work: Caller, definition: str, words: str) -> None:
    """And the next one has its slot; the definition's own names the same in its annotation."""
    first, second = start(at_work, definition), start(at_work, definition)
    for location in (first, second):
        run = wait_for(at_work, location, has(Status="Failed"))
        assert run["Reason"] == "PendingTimeout"
        assert words in run["Message"]
        assert run["ExitCode"] == -1


def test_a_request_may_be_less_patient_than_its_definition(at_work: Caller) -> None:
    """And not more."""
    refused = at_work.post("/job/unpullable", json.dumps({"PendingTimeoutSeconds": 2, "TimeoutSeconds": 9}))
    assert faults(refused) == {"/PendingTimeoutSeconds": "above this job's 1"}
    assert at_work.post("/job/free?dryRun=true", '{"PendingTimeoutSeconds": 599}').status_code == 200


def test_how_long_a_queue_may_be_is_no_business_of_a_request(at_work: Caller) -> None:
    """It would be the bound of others."""
    assert "/MaxQueued" in faults(at_work.post("/job/free", '{"MaxQueued": 7}'))


@pytest.mark.real_only("it has no quotas")
def test_a_quota_on_jobs_is_429_and_over_when_it_is_raised(at_work: Caller, server: Server, namespace: str) -> None:
    """In the API server's own words, which tell a quota from other refusals."""
    core = client.CoreV1Api(server.admin)
    quota = {"metadata": {"name": "jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    core.create_namespaced_resource_quota(namespace, quota)
    until_quota_counts(core, namespace)
    answer = at_work.post("/job/free")
    assert "a quota of the namespace is used up" in check_problem(answer, 429)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    core.delete_namespaced_resource_quota("jobs", namespace)
    wait_for(at_work, start(at_work, "free"), has(Status="Succeeded"))


def until_quota_counts(core: Any, namespace: str) -> None:
    """The API server refuses everything while the status of a quota is not known."""
    while not core.read_namespaced_resource_quota("jobs", namespace).status.hard:
        time.sleep(0.05)
