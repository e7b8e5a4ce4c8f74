"""A definition called `Default`: unknown names fall back to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.factory import create_app
from app.runs.limits import queue_limiter
from app.settings import Settings
from tests.http.clients import Caller, check_problem
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS

CONFIGURATION = {
    "Configurations": {
        "Default": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"], "MaxQueued": 2},
        "private": {"Image": "busybox:2"},
    }
}

Start = Callable[..., Caller]


@pytest.fixture
def start(server: Server, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts the service with a public fallback."""
    monkeypatch.setattr(queue_limiter, "_FIRST_LIST_SECONDS", DEADLINE_SECONDS)
    kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))

    def create(**settings: Any) -> Caller:
        configured = Settings(configuration=json.dumps(CONFIGURATION), kubeconfig=kubeconfig, **settings)
        return Caller(create_app(configured).test_client())

    return create


def test_run_of_an_unknown_name__is_one_of_the_fallback(start: Start, batch: client.BatchV1Api, namespace: str) -> None:
    """In its name, its label, its variable, its queue and its URL. The asked name finds it as well."""
    caller = start(public_listing=True)
    response = caller.post("/job/Anything", json.dumps({"Args": ["42"]}))
    run_id = response.json["Id"]
    assert response.status_code == 202
    assert response.json["Name"] == f"default-slimfaas-job-{run_id}"
    assert response.headers["Location"] == f"/job/default/{run_id}"
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.metadata.labels["slimfaas.dev/job"] == "default"
    (container,) = job.spec.template.spec.containers
    assert {one.name: one.value for one in container.env}["SLIMFAAS_JOB_NAME"] == "default"
    for name in ("default", "anything", "other"):
        assert caller.get(f"/job/{name}/{run_id}").json["Id"] == run_id
    assert [view["Name"] for view in caller.get("/jobs/status").json] == ["default"]
    assert [run["Id"] for run in caller.get("/job/default").json] == [run_id]


def test_runs_of_all_unknown_names__share_the_bounds_of_the_fallback(start: Start) -> None:
    caller = start()
    assert [caller.post(f"/job/name-{number}").status_code for number in range(3)] == [202, 202, 429]
    assert "Image" in str(check_problem(caller.post("/job/other", '{"Image": "evil:1"}'), 422))


def test_unknown_name__is_none_for_lists_and_for_emptying(start: Start) -> None:
    caller = start(public_listing=True)
    check_problem(caller.get("/job/anything"), 404)
    check_problem(caller.call("DELETE", "/job/anything?status=Queued"), 404)
    check_problem(caller.post("/job/any_thing"), 404)


def test_public_fallback__opens_no_private_definition(start: Start) -> None:
    """Neither do the answers tell its name, where private definitions are hidden."""
    check_problem(start().post("/job/private"), 403)
    hidden = start(hide_private=True)
    private, unknown = (hidden.post(f"/job/{name}") for name in ("private", "unknown"))
    assert check_problem(private, 404)["detail"].replace("private", "") == check_problem(unknown, 404)[
        "detail"
    ].replace("unknown", "")
    assert hidden.post("/job/default").status_code == 202
