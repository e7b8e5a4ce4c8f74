"""`GET /job/<name>/definition`: what a request may set, and what its caller may do."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.factory import create_app
from app.runs.limits import queue_limiter
from app.settings import Settings
from schemas.definition_view import PERMITTED
from tests.http.clients import Caller, check_problem
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS

SECRET = "the-value-of-a-variable"
DEFINITIONS: dict[str, Any] = {
    "plain": {"Image": "busybox:1", "Visibility": "Public"},
    "bounded": {
        "Image": "busybox:1",
        "ImagesWhitelist": ["busybox:*"],
        "Visibility": "Public",
        "NumberParallelJob": 2,
        "MaxQueued": 5,
        "Args": ["42"],
        "DependsOn": ["web"],
        "Resources": {"Requests": {"cpu": "100m"}, "Limits": {"cpu": "1"}},
        "Environments": [{"Name": "LEVEL", "Value": SECRET}],
        "EnvironmentsWhitelist": ["LEVEL", "REPORT_*"],
        "Overridable": ["Args", "Image"],
        "BackoffLimit": 3,
        "TimeoutSeconds": 60,
        "TtlSecondsAfterFinished": 600,
        "RestartPolicy": "OnFailure",
        "Queue": "team-a",
        "Priority": "high",
        "PrioritiesWhitelist": ["low"],
    },
    "secret": {
        "Image": "busybox:1",
        "Visibility": "Public",
        "Environments": [{"Name": "TOKEN", "SecretRef": {"Name": "api", "Key": "token"}}],
    },
    "private": {"Image": "busybox:1"},
}


@pytest.fixture
def make(server: Server, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that builds the application."""
    monkeypatch.setattr(queue_limiter, "_FIRST_LIST_SECONDS", DEADLINE_SECONDS)

    def create(definitions: dict[str, Any] = DEFINITIONS, url: str | None = None, **settings: Any) -> Caller:
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace, url=url))
        configuration = json.dumps({"Configurations": definitions})
        return Caller(
            create_app(Settings(configuration=configuration, kubeconfig=kubeconfig, **settings)).test_client()
        )

    return create


def test_bounds__of_a_definition_that_sets_many(make: Any) -> None:
    response = make(public_listing=True).get("/job/Bounded/definition")
    assert SECRET not in response.text
    assert response.json == {
        "Name": "bounded",
        "Visibility": "Public",
        "Source": "Configuration",
        "NumberParallelJob": 2,
        "MaxQueued": 5,
        "Overridable": ["Args", "Image"],
        "Image": "busybox:1",
        "ImagesWhitelist": ["busybox:*"],
        "Args": ["42"],
        "Resources": {"Requests": {"cpu": "100m"}, "Limits": {"cpu": "1"}},
        "DependsOn": ["web"],
        "Environments": ["LEVEL"],
        "EnvironmentsWhitelist": ["LEVEL", "REPORT_*"],
        "BackoffLimit": 3,
        "MaxBackoffLimit": 3,
        "TimeoutSeconds": 60,
        "PendingTimeoutSeconds": None,
        "QueueTimeoutSeconds": None,
        "TtlSecondsAfterFinished": 600,
        "RestartPolicy": "OnFailure",
        "Queue": "team-a",
        "Priority": "high",
        "PrioritiesWhitelist": ["low"],
        "Permitted": sorted(PERMITTED),
        "PermittedOnOwn": [],
    }


@pytest.mark.parametrize(("name", "settable"), [("plain", None), ("secret", [])])
def test_bounds__tell_whether_any_variable_may_be_set(make: Any, name: str, settable: list[str] | None) -> None:
    bounds = make().get(f"/job/{name}/definition").json
    assert bounds["EnvironmentsWhitelist"] == settable
    assert (bounds["BackoffLimit"], bounds["MaxBackoffLimit"]) == (1, 6)
    assert bounds["Args"] is None
    assert "Environments" in bounds["Overridable"]


def test_bounds__are_those_that_a_request_meets(make: Any) -> None:
    """The most that they allow is accepted, and one more is refused."""
    caller = make()
    for name in ("plain", "bounded"):
        bounds = caller.get(f"/job/{name}/definition").json
        most = bounds["MaxBackoffLimit"]
        for retries, status in ((most, 200), (most + 1, 422)):
            if "BackoffLimit" in bounds["Overridable"]:
                response = caller.post(f"/job/{name}?dryRun=true", json.dumps({"BackoffLimit": retries}))
                assert response.status_code == status


def test_bounds__of_a_public_definition_say_that_strangers_may_not_list(make: Any) -> None:
    bounds = make().get("/job/plain/definition").json
    assert set(PERMITTED) - set(bounds["Permitted"]) == {"Empty", "List", "ListSchedules"}


def test_bounds__of_a_private_definition_are_for_callers_who_may_start_runs(make: Any) -> None:
    caller = make()
    assert "private" in check_problem(caller.get("/job/private/definition"), 403)["detail"]
    trusted = caller.client.get("/job/private/definition", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert trusted.status_code == 403  # loopback is no pod
    check_problem(make(hide_private=True).get("/job/private/definition"), 404)
    check_problem(caller.get("/job/unknown/definition"), 404)


def test_bounds__of_the_fallback_answer_for_unknown_names(make: Any) -> None:
    caller = make({"default": {"Image": "busybox:1", "Visibility": "Public"}})
    assert caller.get("/job/anything/definition").json["Name"] == "default"


def test_bounds__reject_unknown_parameters(make: Any) -> None:
    check_problem(make().get("/job/plain/definition?all=true"), 400)


def test_bounds__need_no_call_if_everything_is_open(make: Any, proxy: FaultProxy) -> None:
    caller = make(url=proxy.url, public_listing=True)
    assert caller.get("/job/plain/definition").status_code == 200
    assert not proxy.requests


def test_run_path__may_still_be_called_definition(make: Any) -> None:
    """Only GET has this meaning: a POST passes the path to the run."""
    response = make().post("/job/plain/definition?dryRun=true")
    assert response.status_code == 200
    variables = response.json["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SLIMFAAS_JOB_PATH", "value": "definition"} in variables


def test_bounds__list_no_field_that_is_always_refused(make: Any) -> None:
    kueue = {**DEFINITIONS["plain"], "Queue": "team-a"}
    caller = make({"plain": DEFINITIONS["plain"], "kueue": kueue, "ranked": {**kueue, "PrioritiesWhitelist": ["low"]}})
    for name, body in (("plain", {"Priority": "low"}), ("kueue", {"QueueTimeoutSeconds": 60})):
        (field,) = body
        assert field not in caller.get(f"/job/{name}/definition").json["Overridable"]
        assert caller.post(f"/job/{name}?dryRun=true", json.dumps(body)).status_code == 422
    assert "Priority" in caller.get("/job/ranked/definition").json["Overridable"]
