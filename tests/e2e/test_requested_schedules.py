"""A schedule over HTTP, from its creation to the end of a run: service, CronJob controller and dispatcher."""

from typing import Any

import pytest
import requests

from tests.e2e.callers import Replica
from tests.integration.dispatching import until
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.slow

DEFINITIONS = {"runs": {"Image": "busybox:1", "Args": ["true"], "Visibility": "Public", "NumberParallelJob": 1}}
SOON = {"Schedule": "@every 1s", "Args": ["true"], "TimeoutSeconds": 900}
"""Kubernetes names the Jobs of a CronJob after the minute: this makes one run a minute, and the first one at once."""


def call(service: ServiceProcess, method: str, path: str, body: Any = None) -> requests.Response:
    return requests.request(method, f"{service.url}{path}", json=body, timeout=DEADLINE_SECONDS)


def test_schedule__makes_runs_that_are_used_like_any_other(replica: Replica) -> None:
    """They outlive their schedule."""
    with replica(DEFINITIONS, SLIMFAAS_PUBLIC_LISTING="true") as service:
        made = call(service, "POST", "/job-schedules/runs", SOON)
        assert made.status_code == 201, made.text
        schedule = made.json()["Id"]
        (run, *_) = until(lambda: call(service, "GET", "/job/runs").json())
        assert run["Schedule"] == schedule
        ended = until(
            lambda: (found := call(service, "GET", f"/job/runs/{run['Id']}").json())["Status"] == "Succeeded" and found
        )
        assert (ended["Args"], ended["Schedule"]) == (["true"], schedule)
        view = call(service, "GET", f"/job-schedules/runs/{schedule}").json()
        assert view["LastTimestamp"] > 0
        assert call(service, "DELETE", f"/job-schedules/runs/{schedule}").status_code == 204
        until(lambda: call(service, "GET", "/job-schedules/runs").json() == [])
        assert call(service, "GET", f"/job/runs/{run['Id']}").json()["Status"] == "Succeeded"
        assert call(service, "DELETE", f"/job/runs/{run['Id']}").status_code == 200


def test_schedule__that_is_paused_makes_no_runs_until_it_is_resumed(replica: Replica) -> None:
    with replica(DEFINITIONS, SLIMFAAS_PUBLIC_LISTING="true") as service:
        path = call(service, "POST", "/job-schedules/runs", {**SOON, "Suspend": True}).headers["Location"]
        other = call(service, "POST", "/job-schedules/runs", SOON).json()["Id"]
        until(lambda: call(service, "GET", "/job/runs").json())  # the controller is at work
        assert {run["Schedule"] for run in call(service, "GET", "/job/runs").json()} == {other}
        assert call(service, "PATCH", path, {"Suspend": False}).json()["Status"] == "Active"
        until(lambda: len({run["Schedule"] for run in call(service, "GET", "/job/runs").json()}) == 2)
