"""What the caller hears of a queue that is full."""

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
    """Calls an application with a bound on one definition, and one on all."""
    settings = Settings(
        configuration=json.dumps(DEFINITIONS),
        kubeconfig=str(write_kubeconfig(tmp_path, server, namespace, url=proxy.url)),
        max_queued=2,
    )
    app = create_app(settings)
    queues = app.extensions["slimfaas-jobs"].queues
    queues.start()
    yield Caller(app.test_client())
    queues.stop()


def refusal(answer: TestResponse) -> tuple[dict[str, Any], int]:
    """The problem document of a full queue, and its Retry-After."""
    return check_problem(answer, 429), int(answer.headers["Retry-After"])


def test_a_full_queue_names_its_bound_and_when_to_try_again(bounded: Caller) -> None:
    """429, with the definition's own bound; nothing is stored."""
    until_known(lambda: bounded.post("/job/small"))
    problem, retry_after = refusal(bounded.post("/job/small"))
    assert problem["detail"] == "the queue of this job is full (MaxQueued: 1); nothing has been done"
    assert 1 <= retry_after <= 300
    assert len(bounded.get("/job/small").json or ()) == 1


def test_the_bound_on_all_queues_says_nothing_of_others(bounded: Caller) -> None:
    """Neither whose runs wait, nor how many."""
    until_known(lambda: bounded.post("/job/small"))
    assert bounded.post("/job/free").status_code == 202
    problem, _ = refusal(bounded.post("/job/free"))
    assert problem["detail"] == "the queues of this service are full (SLIMFAAS_MAX_QUEUED); nothing has been done"


def test_a_dry_run_gets_the_answer_that_the_call_would_get(bounded: Caller) -> None:
    """And takes no place itself."""
    for _ in range(3):
        assert until_known(lambda: bounded.post("/job/small?dryRun=true")).status_code == 200
    assert bounded.post("/job/small").status_code == 202
    refusal(bounded.post("/job/small?dryRun=true"))


def test_a_stranger_hears_nothing_of_a_private_queue(bounded: Caller) -> None:
    """Who may not call is refused before."""
    for _ in range(3):
        check_problem(bounded.post("/job/secret"), 403)


def test_what_is_wrong_with_a_request_is_said_first(bounded: Caller) -> None:
    """Trying again later would not help."""
    until_known(lambda: bounded.post("/job/small"))
    check_problem(bounded.post("/job/small", '{"Image": "evil:1"}'), 422)


def test_a_replay_is_answered_from_a_full_queue(bounded: Caller) -> None:
    """As when it was accepted."""
    headers = {"Idempotency-Key": "order-4711"}
    first = until_known(lambda: bounded.post("/job/small", headers=headers))
    again = bounded.post("/job/small", headers=headers)
    assert again.status_code == 202
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    refusal(bounded.post("/job/small", headers={"Idempotency-Key": "order-4712"}))


def test_an_api_server_that_is_away_from_the_start_is_503(bounded: Caller, proxy: FaultProxy) -> None:
    """Nothing is known of the queues then, and nothing could be stored."""
    proxy.refuse_connections()
    proxy.cut_all()
    answer = bounded.post("/job/small")
    check_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
