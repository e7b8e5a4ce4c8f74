"""Runs that take too long or never start: what callers see, and that the slots become free."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.http.clients import Caller, check_problem, faults
from tests.http.dispatching import dispatching, has, make_caller, simulate_run, start, wait_for
from tests.support.selection import slow
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
        "waiting": {
            **PUBLIC,
            "Image": "busybox:1",
            "DependsOn": ["never-there"],
            "MaxQueued": 1,
            "QueueTimeoutSeconds": 2,
        },
        "free": {**PUBLIC, "Image": "busybox:1", "Args": ["true"], "PendingTimeoutSeconds": 600},
    }
}


@pytest.fixture
def live_caller(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Send requests to an application beside which a dispatcher runs."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with dispatching(kubeconfig, DEFINITIONS):
        yield make_caller(kubeconfig, DEFINITIONS)


def test_timeout__fails_a_run_that_takes_too_long(live_caller: Caller) -> None:
    fields = {"TimeoutSeconds": 2, "Environments": simulate_run(seconds=60)}
    run = wait_for(live_caller, start(live_caller, "short", "sleep", "60", **fields), has(Status="Failed"))
    assert run["Reason"] == "DeadlineExceeded"
    assert run["Message"]


@pytest.mark.slow
def test_timeout__does_not_include_time_in_the_queue(live_caller: Caller) -> None:
    environments = simulate_run(seconds=3)
    first = start(live_caller, "short", "sleep", "3", Environments=environments)
    second = start(live_caller, "short", "true", TimeoutSeconds=2, Environments=simulate_run(seconds=0))
    run = wait_for(live_caller, second, lambda run: run["EndTimestamp"] != -1)
    assert run["Status"] == "Succeeded"
    assert run["QueueDurationMilliseconds"] >= 2000
    assert wait_for(live_caller, first, has(Status="Succeeded"))


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("unpullable", "ImagePull"),
        *slow(("homeless", 'serviceaccount "nobody" not found')),
        pytest.param("huge", "Unschedulable", marks=pytest.mark.real_only("its node has no bounds")),
    ],
)
def test_pending_timeout__fails_a_run_that_can_not_start_and_says_why(
    live_caller: Caller, definition: str, words: str
) -> None:
    """The next run gets its slot."""
    first, second = start(live_caller, definition), start(live_caller, definition)
    for location in (first, second):
        run = wait_for(live_caller, location, has(Status="Failed"))
        assert run["Reason"] == "PendingTimeout"
        assert words in run["Message"]
        assert run["ExitCode"] == -1


def test_pending_timeout__may_be_shortened_by_a_request_but_not_extended(live_caller: Caller) -> None:
    refused = live_caller.post("/job/unpullable", json.dumps({"PendingTimeoutSeconds": 2, "TimeoutSeconds": 9}))
    assert faults(refused) == {"/PendingTimeoutSeconds": "above this definition's maximum of 1"}
    assert live_caller.post("/job/free?dryRun=true", '{"PendingTimeoutSeconds": 599}').status_code == 200


@pytest.mark.slow
def test_queue_timeout__ends_a_run_and_frees_its_place(live_caller: Caller) -> None:
    """Runs that wait for what is never there filled a bounded queue for ever."""
    first = start(live_caller, "waiting")
    check_problem(live_caller.post("/job/waiting"), 429)
    run = wait_for(live_caller, first, has(Status="Failed"))
    assert run["Reason"] == "QueueTimeout"
    assert run["Message"] == "was queued for longer than its QueueTimeoutSeconds (2 s); never-there was not ready"
    assert (run["StartTimestamp"], run["Attempts"], run["PositionInQueue"]) == (-1, 0, -1)
    assert run["EndTimestamp"] > run["InQueueTimestamp"]
    second = start(live_caller, "waiting", QueueTimeoutSeconds=1)
    assert wait_for(live_caller, second, has(Status="Failed"))["Reason"] == "QueueTimeout"
    refused = live_caller.post("/job/waiting", '{"QueueTimeoutSeconds": 3}')
    assert faults(refused) == {"/QueueTimeoutSeconds": "above this definition's maximum of 2"}


def test_max_queued__can_not_be_set_by_a_request(live_caller: Caller) -> None:
    assert "/MaxQueued" in faults(live_caller.post("/job/free", '{"MaxQueued": 7}'))


@pytest.mark.real_only("it has no quotas")
def test_quota__gives_429_until_it_is_raised(live_caller: Caller, server: Server, namespace: str) -> None:
    core = client.CoreV1Api(server.admin)
    quota = {"metadata": {"name": "jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    core.create_namespaced_resource_quota(namespace, quota)
    until_quota_counts(core, namespace)
    response = live_caller.post("/job/free")
    assert "a quota of the namespace is used up" in check_problem(response, 429)["detail"]
    assert int(response.headers["Retry-After"]) > 0
    core.delete_namespaced_resource_quota("jobs", namespace)
    wait_for(live_caller, start(live_caller, "free"), has(Status="Succeeded"))


def until_quota_counts(core: Any, namespace: str) -> None:
    """Wait until the quota is counted: before that the API server refuses everything."""
    while not core.read_namespaced_resource_quota("jobs", namespace).status.hard:
        time.sleep(0.05)
