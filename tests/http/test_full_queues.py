"""Responses when a queue is full."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import Caller, check_problem
from tests.http.dispatching import until_known
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig

DEFINITIONS = {
    "Configurations": {
        "small": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"], "MaxQueued": 1},
        "free": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]},
        "secret": {"Image": "busybox:1", "DependsOn": ["nobody"], "MaxQueued": 1},
    }
}


@pytest.fixture
def bounded(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Iterator[Caller]:
    """Send requests to an application with a limit on one definition and one on all."""
    settings = Settings(
        configuration=json.dumps(DEFINITIONS),
        kubeconfig=str(write_kubeconfig(tmp_path, server, namespace, url=proxy.url)),
        max_queued=2,
        public_listing=True,
    )
    app = create_app(settings)
    queues = app.extensions["slimfaas-jobs"].queues
    queues.start()
    yield Caller(app.test_client())
    queues.stop()


def refusal(response: TestResponse) -> tuple[dict[str, Any], int]:
    """Return the problem document of a full queue and its Retry-After."""
    return check_problem(response, 429), int(response.headers["Retry-After"])


def test_full_queue__gets_429_with_its_limit_and_retry_after(bounded: Caller) -> None:
    until_known(lambda: bounded.post("/job/small"))
    problem, retry_after = refusal(bounded.post("/job/small"))
    assert problem["detail"] == "the queue of this definition is full (MaxQueued: 1); nothing has been done"
    assert 1 <= retry_after <= 300
    assert len(bounded.get("/job/small").json or ()) == 1


def test_full_queues__get_429_without_details_of_other_definitions(bounded: Caller) -> None:
    until_known(lambda: bounded.post("/job/small"))
    assert bounded.post("/job/free").status_code == 202
    problem, _ = refusal(bounded.post("/job/free"))
    assert problem["detail"] == "the queues of this service are full (SLIMFAAS_MAX_QUEUED); nothing has been done"


def test_full_queue__refuses_a_dry_run(bounded: Caller) -> None:
    """A dry run takes no place itself."""
    for _ in range(3):
        assert until_known(lambda: bounded.post("/job/small?dryRun=true")).status_code == 200
    assert bounded.post("/job/small").status_code == 202
    refusal(bounded.post("/job/small?dryRun=true"))


def test_full_queue__of_a_private_definition_gets_403_for_untrusted_callers(bounded: Caller) -> None:
    for _ in range(3):
        check_problem(bounded.post("/job/secret"), 403)


def test_full_queue__gets_422_for_an_invalid_request(bounded: Caller) -> None:
    """A retry would not help."""
    until_known(lambda: bounded.post("/job/small"))
    check_problem(bounded.post("/job/small", '{"Image": "evil:1"}'), 422)


def test_full_queue__returns_a_replay(bounded: Caller) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    first = until_known(lambda: bounded.post("/job/small", headers=headers))
    again = bounded.post("/job/small", headers=headers)
    assert again.status_code == 202
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    refusal(bounded.post("/job/small", headers={"Idempotency-Key": "order-4712"}))


NEVER = '{"Schedule": "0 0 1 1 *"}'
"""A schedule that makes no run while a test runs."""


def test_full_queue__refuses_schedules(bounded: Caller) -> None:
    """A schedule itself takes no place, and one that a key has made is found all the same."""
    headers = {"Idempotency-Key": "order-4711"}
    first = until_known(lambda: bounded.post("/job-schedules/small", NEVER, headers=headers))
    assert first.status_code == 201
    assert bounded.post("/job/small").status_code == 202
    problem, retry_after = refusal(bounded.post("/job-schedules/small", NEVER))
    assert problem["detail"] == "the queue of this definition is full (MaxQueued: 1); nothing has been done"
    assert 1 <= retry_after <= 300
    refusal(bounded.post("/job-schedules/small?dryRun=true", NEVER))
    again = bounded.post("/job-schedules/small", NEVER, headers=headers)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert len(bounded.get("/job-schedules/small").json or ()) == 1
    assert bounded.post("/job-schedules/free", NEVER).status_code == 201
    assert bounded.post("/job/free").status_code == 202
    problem, _ = refusal(bounded.post("/job-schedules/free", NEVER))
    assert "SLIMFAAS_MAX_QUEUED" in problem["detail"]


def test_bounded_queue__gets_503_if_the_api_server_was_never_reachable(bounded: Caller, proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    proxy.cut_all()
    response = bounded.post("/job/small")
    check_problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
