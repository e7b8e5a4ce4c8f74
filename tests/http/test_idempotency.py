"""Repeated requests with an Idempotency-Key start one run, whenever and wherever they arrive."""

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
from tests.support.faults import Fault, FaultProxy, Hold, LoseRequest, LoseResponse, Refuse
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess, replicas
from tests.support.waiting import DEADLINE_SECONDS

JOBS = r"/jobs$"
BODY = '{"Args": ["1"]}'


def post(caller: Caller, key: str, body: str = BODY, path: str = "/job/public") -> TestResponse:
    return caller.post(path, body, headers={"Idempotency-Key": key})


def is_replay_of(response: TestResponse, first: TestResponse) -> bool:
    assert first.status_code == 202, first.text
    assert "Idempotency-Replayed" not in first.headers
    shown = (response.status_code, response.json, response.headers["Location"])
    same = shown == (202, first.json, first.headers["Location"])
    return same and response.headers.get("Idempotency-Replayed") == "true"


def stored(batch: client.BatchV1Api, namespace: str) -> list[Any]:
    return list(batch.list_namespaced_job(namespace).items)


@pytest.fixture
def reconfigured(server: Server, namespace: str, tmp_path: Path) -> Callable[[dict[str, Any]], Caller]:
    """Return a function that starts the service with a changed definition `public`."""

    def start(changes: dict[str, Any]) -> Caller:
        changed = {**DEFINITIONS["Configurations"]["public"], **changes}
        document = json.dumps({"Configurations": {"public": changed}})
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
        return Caller(create_app(Settings(configuration=document, kubeconfig=kubeconfig)).test_client())

    return start


def test_replay__returns_the_first_run(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    first = post(caller, "order-4711")
    assert is_replay_of(post(caller, "order-4711"), first)
    assert is_replay_of(post(caller, '"order-4711"'), first)
    assert [job.metadata.name for job in stored(batch, namespace)] == [first.json["Name"]]


def test_key__costs_one_write_and_no_read_on_first_use(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
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
def test_key__used_for_another_request_gets_422(
    caller: Caller, batch: client.BatchV1Api, namespace: str, path: str, body: str
) -> None:
    """Bodies are compared byte by byte."""
    post(caller, "a")
    assert "nothing has been done" in check_problem(post(caller, "a", body, path), 422)["detail"]
    assert len(stored(batch, namespace)) == 1


def test_key__belongs_to_its_definition(server: Server, namespace: str, tmp_path: Path) -> None:
    image = {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}
    document = json.dumps({"Configurations": {"one": image, "two": image}})
    kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
    caller = Caller(create_app(Settings(configuration=document, kubeconfig=kubeconfig)).test_client())
    first, second = post(caller, "a", path="/job/one"), post(caller, "a", path="/job/two")
    assert "Idempotency-Replayed" not in second.headers
    assert first.json["Id"] != second.json["Id"]


def test_key__does_not_give_access_to_a_private_definition(caller: Caller) -> None:
    check_problem(post(caller, "a", path="/job/private"), 403)


@pytest.mark.parametrize(
    "key",
    ["", '""', '"', 'a"b', '"a', '"a"b"', '"a\\b"', "a,b", "a b", '"a b"', '"a","b"', '"a";p', "é", "a\\b", "x" * 256],
)
def test_key__that_is_malformed_gets_400(caller: Caller, batch: client.BatchV1Api, namespace: str, key: str) -> None:
    assert "Idempotency-Key" in check_problem(post(caller, key), 400)["detail"]
    assert stored(batch, namespace) == []


@pytest.mark.parametrize(
    ("raw", "quoted"), [("x" * 255, f'"{"x" * 255}"'), ("!#$%&'()*+-./:;<=>?@[]^_`{|}~", None), (None, '"\\"\\\\,"')]
)
def test_key__may_have_every_visible_character(caller: Caller, raw: str | None, quoted: str | None) -> None:
    """Commas, quotes and backslashes only within quotes."""
    first = post(caller, raw or quoted or "")
    assert is_replay_of(post(caller, quoted or f'"{raw}"'), first)


@pytest.mark.slow
def test_key__makes_one_run_of_concurrent_requests_to_two_replicas(
    server: Server, namespace: str, batch: client.BatchV1Api, tmp_path: Path
) -> None:
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    options = {"SLIMFAAS_DISPATCHER": "off"}
    services = [ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / f"log-{number}", **options) for number in range(2)]

    def call(number: int) -> requests.Response:
        url = f"{services[number % 2].url}/job/public"
        return requests.post(url, data=BODY, headers={"Idempotency-Key": "one"}, timeout=DEADLINE_SECONDS)

    with replicas(*services), ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(call, range(50)))
    # A replica that is too busy has done nothing.
    accepted = [response for response in responses if response.status_code == 202]
    assert {response.status_code for response in responses} <= {202, 503}
    (job,) = stored(batch, namespace)
    assert {response.json()["Name"] for response in accepted} == {job.metadata.name}
    assert sum("Idempotency-Replayed" not in response.headers for response in accepted) <= 1
    assert len(accepted) >= 2


def test_key__is_not_a_replay_after_a_retry_within_one_request(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    first = post(caller_by_proxy, "a")
    assert is_replay_of(post(caller_by_proxy, "a"), first)


def test_replay__after_a_doubtful_503_finds_the_run(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    proxy.add(Fault(LoseRequest(), method="GET", path="/jobs/"))
    assert "may or may not have been stored" in check_problem(post(caller_by_proxy, "a"), 503)["detail"]

    again = post(caller_by_proxy, "a")
    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [job.metadata.name for job in stored(batch, namespace)] == [again.json["Name"]]


@pytest.mark.slow
def test_replay__finds_the_run_of_a_replica_that_was_killed(
    server: Server, namespace: str, caller: Caller, batch: client.BatchV1Api, tmp_path: Path
) -> None:
    """The key is stored on the run, not in the process."""
    hold = Hold()
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        proxy.add(Fault(hold, method="POST", path=JOBS))
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        service = ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", SLIMFAAS_DISPATCHER="off")
        with replicas(service), ThreadPoolExecutor(1) as pool:
            url, headers = f"{service.url}/job/public", {"Idempotency-Key": "a"}
            lost = pool.submit(requests.post, url, data=BODY, headers=headers, timeout=DEADLINE_SECONDS)
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
def test_replay__returns_the_run_after_the_definition_has_changed(
    caller: Caller, reconfigured: Callable[[dict[str, Any]], Caller], changes: dict[str, Any]
) -> None:
    """Even if the request would be refused now."""
    body = '{"Image": "busybox:1", "Resources": {"Limits": {"cpu": "1"}}}'
    first = post(caller, "a", body)
    assert is_replay_of(post(reconfigured(changes), "a", body), first)


def test_key__does_not_excuse_an_invalid_request(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    post(caller, "a")
    for key in ("a", "b"):
        assert "errors" in check_problem(post(caller, key, '{"Image": "evil:1"}'), 422)
        check_problem(post(caller, key, "no JSON"), 400)
    assert len(stored(batch, namespace)) == 1


@pytest.mark.parametrize("refusal", [Refuse(403, "Forbidden", "exceeded quota: jobs"), Refuse(422, "Invalid", "no")])
def test_replay__returns_the_run_though_kubernetes_would_refuse_it_now(
    caller_by_proxy: Caller, proxy: FaultProxy, refusal: Refuse
) -> None:
    """Quotas and policies are checked before the name, and the run itself may have used up a quota."""
    first = post(caller_by_proxy, "a")
    proxy.add(Fault(refusal, method="POST", path=JOBS, times=None))
    assert is_replay_of(post(caller_by_proxy, "a"), first)
    check_problem(post(caller_by_proxy, "b"), 429 if refusal.status == 403 else 422)


def test_replay__is_in_doubt_if_the_run_can_not_be_read(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    post(caller_by_proxy, "a", '{"Args": ["1"]}')
    proxy.refuse_connections()
    proxy.cut_all()
    detail = check_problem(post(caller_by_proxy, "a", '{"Image": "evil:1"}'), 503)["detail"]
    assert "may or may not have been stored" in detail


def test_key__starts_a_new_run_after_its_run_was_deleted(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """The new run has the same id."""
    first = post(caller, "a")
    batch.delete_namespaced_job(first.json["Name"], namespace, propagation_policy="Background")
    second = post(caller, "a", "")
    assert "Idempotency-Replayed" not in second.headers
    assert (second.status_code, second.json) == (202, first.json)


def test_key__starts_a_run_if_the_old_one_is_deleted_meanwhile(
    caller_by_proxy: Caller, proxy: FaultProxy, batch: client.BatchV1Api, namespace: str
) -> None:
    """The name is taken at the create, and free at the read that follows."""
    hold = Hold()
    first = post(caller_by_proxy, "a")
    proxy.add(Fault(hold, method="GET", path="/jobs/"))
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(post, caller_by_proxy, "a")
        hold.wait_held()
        batch.delete_namespaced_job(first.json["Name"], namespace, propagation_policy="Background")
        hold.release()
        response = second.result(DEADLINE_SECONDS)
    assert response.status_code == 202
    assert "Idempotency-Replayed" not in response.headers
    assert len(stored(batch, namespace)) == 1


def test_key__whose_name_is_taken_by_another_job_gets_409(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """A Job made by hand, or a run of another key whose digest begins alike."""
    run_id = post(caller, "a").json["Id"]
    batch.delete_namespaced_job(job_name("public", run_id), namespace, propagation_policy="Background")
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "busybox:1"}]}
    job = {"metadata": {"name": job_name("public", run_id)}, "spec": {"suspend": True, "template": {"spec": pod}}}
    batch.create_namespaced_job(namespace, job)
    check_problem(post(caller, "a"), 409)

    first = post(caller, "b")
    annotation = {"slimfaas.dev/idempotency-key": "0" * 64}
    batch.patch_namespaced_job(first.json["Name"], namespace, {"metadata": {"annotations": annotation}})
    check_problem(post(caller, "b"), 409)
    assert len(stored(batch, namespace)) == 2


def test_replay__can_wait_for_the_run(caller: Caller) -> None:
    first = post(caller, "a")
    headers = {"Idempotency-Key": "a", "Prefer": "wait=0"}
    response = caller.post("/job/public", BODY, headers=headers)
    assert response.status_code == 202
    assert response.headers["Idempotency-Replayed"] == "true"
    assert (response.json["Id"], response.json["Status"]) == (first.json["Id"], "Queued")


def test_key__is_stored_only_as_a_digest(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    post(caller, "a-key-of-somebody")
    (job,) = stored(batch, namespace)
    assert "a-key-of-somebody" not in str(job.to_dict())


def make_app(kubeconfig: Path, key_secret: str) -> Caller:
    settings = Settings(configuration=json.dumps(DEFINITIONS), kubeconfig=str(kubeconfig), key_secret=key_secret)
    return Caller(create_app(settings).test_client())


def test_key__can_not_be_guessed_from_an_id_or_a_job(
    server: Server, namespace: str, tmp_path: Path, batch: client.BatchV1Api
) -> None:
    """Whoever lists ids or reads Jobs could test guesses of keys offline, if the digests followed from keys alone."""
    caller = make_app(write_kubeconfig(tmp_path, server, namespace), "a secret of 16 letters".replace(" ", "-"))
    run_id = post(caller, "a").json["Id"]
    guess = identify_request("public", "a", BODY.encode(), "", "")
    assert guess.run_id != run_id
    [job] = batch.list_namespaced_job(namespace).items
    assert guess.key_digest.hex() not in str(job)


def test_key__finds_its_run_through_every_replica_with_the_same_secret(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """With another secret it is another key."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    first, second, other = (make_app(kubeconfig, secret) for secret in ("x" * 16, "x" * 16, "y" * 16))
    accepted = post(first, "a")
    assert is_replay_of(post(second, "a"), accepted)
    assert post(other, "a").json["Id"] != accepted.json["Id"]
