"""Repeating a call with an Idempotency-Key: one run, whoever repeats it, whenever, and wherever it arrives."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client
from werkzeug.test import TestResponse

from app.domain.idempotency import identify_request
from app.domain.names import job_name
from app.factory import create_app
from app.settings import Settings
from tests.http.clients import DEFINITIONS, Caller, check_problem
from tests.support.faults import Fault, FaultProxy, Hold, LoseAnswer, LoseRequest, Refuse
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess, replicas

JOBS = r"/jobs$"
BODY = '{"Args": ["1"]}'


def post(caller: Caller, key: str, body: str = BODY, path: str = "/job/public") -> TestResponse:
    return caller.post(path, body, headers={"Idempotency-Key": key})


def is_replay_of(answer: TestResponse, first: TestResponse) -> bool:
    assert first.status_code == 202, first.text
    assert "Idempotency-Replayed" not in first.headers
    same = (answer.status_code, answer.json, answer.headers["Location"]) == (202, first.json, first.headers["Location"])
    return same and answer.headers.get("Idempotency-Replayed") == "true"


def stored(batch: client.BatchV1Api, namespace: str) -> list[Any]:
    return list(batch.list_namespaced_job(namespace).items)


@pytest.fixture
def reconfigured(server: Server, namespace: str, tmp_path: Path) -> Callable[[dict[str, Any]], Caller]:
    """Calls the service after its definition `public` was changed."""

    def start(changes: dict[str, Any]) -> Caller:
        changed = {**DEFINITIONS["Configurations"]["public"], **changes}
        document = json.dumps({"Configurations": {"public": changed}})
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
        return Caller(create_app(Settings(configuration=document, kubeconfig=kubeconfig)).test_client())

    return start


def test_a_repeated_call_is_answered_with_the_first_run(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """The same answer, said to be one that was given before; and nothing is made."""
    first = post(caller, "order-4711")
    assert is_replay_of(post(caller, "order-4711"), first)
    assert is_replay_of(post(caller, '"order-4711"'), first)
    assert [job.metadata.name for job in stored(batch, namespace)] == [first.json["Name"]]


def test_a_call_that_is_not_repeated_costs_one_write_and_no_read(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """Whoever sends keys pays for them only when they are needed."""
    assert post(caller_by_proxy, "a").status_code == 202
    assert [request.method for request in proxy.requests] == ["POST"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/job/public", '{"Args": ["2"]}'),
        ("/job/public", '{"Args":["1"]}'),
        ("/job/public", ""),
        ("/job/public/path", BODY),
        ("/job/public?a=b", BODY),
    ],
)
def test_one_key_for_two_requests_is_refused(
    caller: Caller, batch: client.BatchV1Api, namespace: str, path: str, body: str
) -> None:
    """Another body, byte by byte, another path or another query is another request."""
    post(caller, "a")
    assert "nothing has been done" in check_problem(post(caller, "a", body, path), 422)["detail"]
    assert len(stored(batch, namespace)) == 1


def test_keys_of_two_definitions_have_nothing_to_do_with_each_other(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """A key belongs to its definition."""
    image = {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}
    document = json.dumps({"Configurations": {"one": image, "two": image}})
    kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
    caller = Caller(create_app(Settings(configuration=document, kubeconfig=kubeconfig)).test_client())
    first, second = post(caller, "a", path="/job/one"), post(caller, "a", path="/job/two")
    assert "Idempotency-Replayed" not in second.headers
    assert first.json["Id"] != second.json["Id"]


def test_a_key_opens_no_private_definition(caller: Caller) -> None:
    """Who may not start a run hears nothing of one that others have started."""
    check_problem(post(caller, "a", path="/job/private"), 403)


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', 'a"b', '"a', '"a"b"', '"a\\b"', "a,b", "a b", '"a b"', '"a","b"', '"a";p', "é", "a\\b", "x" * 256],
)
def test_what_is_no_key_is_refused(caller: Caller, batch: client.BatchV1Api, namespace: str, key: str) -> None:
    """Rather than to be taken for no key at all, and to make a run each time."""
    assert "Idempotency-Key" in check_problem(post(caller, key), 400)["detail"]
    assert stored(batch, namespace) == []


@pytest.mark.parametrize(
    ("raw", "quoted"), [("x" * 255, f'"{"x" * 255}"'), ("!#$%&'()*+-./:;<=>?@[]^_`{|}~", None), (None, '"\\"\\\\,"')]
)
def test_every_visible_character_may_be_in_a_key(caller: Caller, raw: str | None, quoted: str | None) -> None:
    """Those that a list or a string of HTTP needs for itself in quotes only."""
    first = post(caller, raw or quoted or "")
    assert is_replay_of(post(caller, quoted or f'"{raw}"'), first)


def test_concurrent_calls_with_one_key_at_two_replicas_make_one_run(
    server: Server, namespace: str, batch: client.BatchV1Api, tmp_path: Path
) -> None:
    """Fifty callers, one run: the API server stores a name once."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    options = {"SLIMFAAS_DISPATCHER": "off"}
    services = [ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / f"log-{number}", **options) for number in range(2)]

    def call(number: int) -> requests.Response:
        url = f"{services[number % 2].url}/job/public"
        return requests.post(url, data=BODY, headers={"Idempotency-Key": "one"}, timeout=30)

    with replicas(*services), ThreadPoolExecutor(50) as callers:
        answers = list(callers.map(call, range(50)))
    # A replica that is too busy says so, and has done nothing.
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert {answer.status_code for answer in answers} <= {202, 503}
    (job,) = stored(batch, namespace)
    assert {answer.json()["Name"] for answer in accepted} == {job.metadata.name}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in accepted) <= 1
    assert len(accepted) >= 2


def test_a_lost_answer_within_one_call_is_no_replay(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """The service's own second try finds its own run: for the caller it is the first."""
    proxy.add(Fault(LoseAnswer(), method="POST", path=JOBS))
    first = post(caller_by_proxy, "a")
    assert is_replay_of(post(caller_by_proxy, "a"), first)


def test_a_caller_that_was_left_in_doubt_repeats_the_call_and_has_one_run(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """This is what a key is for: 503 `may or may not have been stored`, and the same call again."""
    proxy.add(Fault(LoseAnswer(), method="POST", path=JOBS))
    proxy.add(Fault(LoseRequest(), method="GET", path="/jobs/"))
    assert "may or may not have been stored" in check_problem(post(caller_by_proxy, "a"), 503)["detail"]

    again = post(caller_by_proxy, "a")
    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [job.metadata.name for job in stored(batch, namespace)] == [again.json["Name"]]


def test_a_replica_that_dies_while_it_stores_leaves_a_run_that_the_next_call_finds(
    server: Server, namespace: str, caller: Caller, batch: client.BatchV1Api, tmp_path: Path
) -> None:
    """The key stands on the run itself, not in the process that made it."""
    hold = Hold()
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        proxy.add(Fault(hold, method="POST", path=JOBS))
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        service = ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", SLIMFAAS_DISPATCHER="off")
        with replicas(service), ThreadPoolExecutor(1) as callers:
            url, headers = f"{service.url}/job/public", {"Idempotency-Key": "a"}
            lost = callers.submit(requests.post, url, data=BODY, headers=headers, timeout=20)
            hold.wait_held()
            service.kill()
            with pytest.raises(requests.ConnectionError):
                lost.result()
            hold.release()
            proxy.wait_for(lambda request: request.method == "POST" and request.status == 201)

    again = post(caller, "a")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [job.metadata.name for job in stored(batch, namespace)] == [again.json["Name"]]


@pytest.mark.parametrize(
    "changes", [{"Args": ["other"]}, {"Image": "busybox:2"}, {"Resources": {}}], ids=["args", "image", "resources"]
)
def test_a_repeated_call_is_answered_though_the_definition_has_changed(
    caller: Caller, reconfigured: Callable[[dict[str, Any]], Caller], changes: dict[str, Any]
) -> None:
    """Also where the request would be refused by now: the run is there, and its caller must hear of it."""
    body = '{"Image": "busybox:1", "Resources": {"Limits": {"cpu": "1"}}}'
    first = post(caller, "a", body)
    assert is_replay_of(post(reconfigured(changes), "a", body), first)


def test_a_refused_call_with_a_new_key_is_refused(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """A key excuses nothing; and that of a run is none for a request that is refused."""
    post(caller, "a")
    for key in ("a", "b"):
        assert "errors" in check_problem(post(caller, key, '{"Image": "evil:1"}'), 422)
        check_problem(post(caller, key, "no JSON"), 400)
    assert len(stored(batch, namespace)) == 1


@pytest.mark.parametrize("refusal", [Refuse(403, "Forbidden", "exceeded quota: jobs"), Refuse(422, "Invalid", "no")])
def test_a_repeated_call_is_answered_though_kubernetes_would_refuse_it_now(
    caller_by_proxy: Caller, proxy: FaultProxy, refusal: Refuse
) -> None:
    """Quotas and policies speak before the name is looked at, and the run itself may have used up a quota."""
    first = post(caller_by_proxy, "a")
    proxy.add(Fault(refusal, method="POST", path=JOBS, times=None))
    assert is_replay_of(post(caller_by_proxy, "a"), first)
    check_problem(post(caller_by_proxy, "b"), 429 if refusal.status == 403 else 422)


def test_a_refused_call_that_can_not_be_looked_into_may_have_been_stored(
    caller_by_proxy: Caller, proxy: FaultProxy
) -> None:
    """Nobody says that it isn't there before having looked."""
    post(caller_by_proxy, "a", '{"Args": ["1"]}')
    proxy.refuse_connections()
    proxy.cut_all()
    detail = check_problem(post(caller_by_proxy, "a", '{"Image": "evil:1"}'), 503)["detail"]
    assert "may or may not have been stored" in detail


def test_a_key_lives_as_long_as_its_run(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """Once the run is deleted, the key starts another one, of the same id."""
    first = post(caller, "a")
    batch.delete_namespaced_job(first.json["Name"], namespace, propagation_policy="Background")
    second = post(caller, "a", "")
    assert "Idempotency-Replayed" not in second.headers
    assert (second.status_code, second.json) == (202, first.json)


def test_a_run_that_goes_while_its_name_is_in_the_way_makes_room(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """Taken when the run is created, gone when it is looked at: the name is free, and the call starts a run."""
    hold = Hold()
    first = post(caller_by_proxy, "a")
    proxy.add(Fault(hold, method="GET", path="/jobs/"))
    with ThreadPoolExecutor(1) as callers:
        second = callers.submit(post, caller_by_proxy, "a")
        hold.wait_held()
        batch.delete_namespaced_job(first.json["Name"], namespace, propagation_policy="Background")
        hold.release()
        answer = second.result(20)
    assert answer.status_code == 202
    assert "Idempotency-Replayed" not in answer.headers
    assert len(stored(batch, namespace)) == 1


def test_a_job_of_others_under_the_keys_name_is_no_replay(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """Neither a Job that somebody made by hand nor the run of another key whose digest begins alike."""
    run_id = identify_request("public", "a", BODY.encode(), "", "").run_id
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox:1"}]}
    job = {"metadata": {"name": job_name("public", run_id)}, "spec": {"suspend": True, "template": {"spec": pod}}}
    batch.create_namespaced_job(namespace, job)
    check_problem(post(caller, "a"), 409)

    first = post(caller, "b")
    annotation = {"slimfaas.dev/idempotency-key": "0" * 64}
    batch.patch_namespaced_job(first.json["Name"], namespace, {"metadata": {"annotations": annotation}})
    check_problem(post(caller, "b"), 409)
    assert len(stored(batch, namespace)) == 2


def test_a_repeated_call_can_wait_for_the_run(caller: Caller) -> None:
    """`Prefer: wait` shows the run as it is when the time is up, and that it is an earlier one."""
    first = post(caller, "a")
    headers = {"Idempotency-Key": "a", "Prefer": "wait=0"}
    answer = caller.post("/job/public", BODY, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert (answer.json["Id"], answer.json["Status"]) == (first.json["Id"], "Queued")


def test_a_key_is_not_stored_as_it_was_sent(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """Only digests of it and of the request are."""
    post(caller, "a-key-of-somebody")
    (job,) = stored(batch, namespace)
    assert "a-key-of-somebody" not in str(job.to_dict())
