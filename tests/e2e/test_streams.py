"""Long requests (waits and logs): beside other requests, in outages, and at shutdown."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import pytest
import requests
from kubernetes import client

from app.common.concurrency_limiter import MAX_READS
from tests.e2e.callers import Replica
from tests.http.clients import RawClient, check_document
from tests.support.faults import Fault, FaultProxy, GoSilent, Hold, Refuse, Request, Truncate
from tests.support.selection import slow
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import LONG_GRACEFUL_TIMEOUT, ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

PRINTS = pytest.mark.embedded_only("needs real processes, whose logs can be followed")

SLEEPER: dict[str, Any] = {
    "Image": "busybox:1",
    "Visibility": "Public",
    "NumberParallelJob": 4,
    "Args": ["sleep", "600"],
    "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "600s"}],
}
SHORT = {**SLEEPER, "Args": ["sleep", "1.5"], "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "1500ms"}]}
Shared = tuple[ServiceProcess, FaultProxy, str]
"""A replica, the proxy between it and the API server, and its namespace."""

DEFINITIONS: dict[str, Any] = {
    "sleeper": SLEEPER,
    "short": SHORT,
    "waiting": {**SLEEPER, "DependsOn": ["nobody"]},
    "failing": {
        **SHORT,
        "Args": ["false"],
        "BackoffLimit": 0,
        "Environments": [{"Name": "TESTNODE_EXIT_CODE", "Value": "1"}],
    },
}


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """Provide a proxy between the service and the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as running:
        yield running


@pytest.fixture(scope="module")
def running_replica(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Run one replica behind a proxy, in a namespace of its own."""
    folder, namespace = tmp_path_factory.mktemp("streams"), server.create_namespace()
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        kubeconfig = write_kubeconfig(folder, server, namespace, url=proxy.url)
        with ServiceProcess(kubeconfig, {"Configurations": DEFINITIONS}, folder / "log") as service:
            yield service, proxy, namespace
    server.delete_namespace(namespace)


@pytest.fixture
def shared(server: Server, running_replica: Shared) -> Iterator[Shared]:
    """Share a replica, its proxy and its namespace with other tests, which find no run and no fault of this one."""
    _, proxy, namespace = running_replica
    yield running_replica
    proxy.heal()
    batch = client.BatchV1Api(server.admin)
    batch.delete_collection_namespaced_job(namespace, propagation_policy="Background")
    until(lambda: not batch.list_namespaced_job(namespace).items)


def start(service: ServiceProcess, definition: str, body: dict[str, Any] | None = None) -> str:
    response = service.post(f"/job/{definition}", body)
    assert response.status_code == 202, response.text
    return response.headers["Location"]


def start_running(service: ServiceProcess, definition: str, body: dict[str, Any] | None = None) -> str:
    location = start(service, definition, body)
    until(lambda: service.get(location).json()["Status"] == "Running")
    return location


def name_of(location: str) -> str:
    _, _, definition, run_id = location.split("/")
    return f"{definition}-slimfaas-job-{run_id}"


def call(
    method: str, service: ServiceProcess, path: str, *, wait: object = 60, body: str | None = None
) -> requests.Response:
    return requests.request(
        method, service.url + path, data=body, headers={"Prefer": f"wait={wait}"}, timeout=DEADLINE_SECONDS
    )


@contextmanager
def in_background(
    method: str, service: ServiceProcess, path: str, **options: Any
) -> Iterator["Future[requests.Response]"]:
    """Make a long request in another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, method, service, path, **options)


def is_watch_of_one(request: Request) -> bool:
    return request.watching and "metadata.name" in request.query


def is_watch_of(location: str) -> Callable[[Request], bool]:
    return lambda request: request.watching and f"metadata.name%3D{name_of(location)}" in request.query


def await_watch(proxy: FaultProxy, location: str, count: int = 1) -> None:
    """Wait until `count` watches of a run have been opened."""
    proxy.wait_for(is_watch_of(location), count=count, timeout_seconds=DEADLINE_SECONDS)


def begin_wait(service: ServiceProcess, proxy: FaultProxy, location: str, count: int) -> RawClient:
    """Send a request that waits for a run, and return once the run has `count` watches."""
    raw_client = RawClient(service.port).send_request("GET", location, "Prefer: wait=300")
    await_watch(proxy, location, count=count)
    return raw_client


def open_watches(proxy: FaultProxy, location: str) -> int:
    return sum(request.finished is None for request in proxy.requests if is_watch_of(location)(request))


def open_logs(proxy: FaultProxy) -> int:
    return sum(request.path.endswith("/log") and request.finished is None for request in proxy.requests)


def follow(service: ServiceProcess, location: str, query: str = "") -> tuple[RawClient, HTTPResponse]:
    """Follow a log, and return after the head of the response."""
    raw_client = RawClient(service.port)
    answer = raw_client.send_request("GET", f"{location}/logs?follow=true{query}").answer()
    assert answer.status == 200
    return raw_client, answer


def test_waiting_post__returns_the_finished_run(shared: Shared) -> None:
    """A failed run is finished, too."""
    service, _, _ = shared
    answer = call("POST", service, "/job/short", wait=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Preference-Applied"] == "wait=120"
    run = answer.json()
    assert run["Status"] == "Succeeded"
    assert answer.headers["Location"] == f"/job/short/{run['Id']}"
    again = call("GET", service, answer.headers["Location"], wait=999)
    assert (again.status_code, again.json()) == (200, run)
    assert again.headers["Preference-Applied"] == "wait=300"
    assert call("POST", service, "/job/failing").json()["Status"] == "Failed"


def test_waiting_get_and_head__return_when_the_run_ends(shared: Shared) -> None:
    service, proxy, _ = shared
    location = start(service, "short")
    with in_background("HEAD", service, location) as head:
        assert call("GET", service, location).json()["Status"] == "Succeeded"
        assert head.result().status_code == 200
    reads = [request for request in proxy.requests if request.path.endswith(name_of(location))]
    assert len([request for request in reads if request.method == "GET"]) <= 10  # the run is watched, not polled


@pytest.mark.slow
def test_waiting__at_the_end_of_its_time__returns_the_current_run(shared: Shared) -> None:
    """202 for the request that started it, 200 for a read."""
    service, _, _ = shared
    answer = call("POST", service, "/job/waiting", wait=1)
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["Status"], run["PositionInQueue"]) == ("Queued", 1)
    again = call("GET", service, answer.headers["Location"], wait=1)
    assert (again.status_code, again.json()) == (200, run)
    assert again.headers["Preference-Applied"] == answer.headers["Preference-Applied"] == "wait=1"


@pytest.mark.slow
def test_waiting__zero_or_invalid_time__does_not_wait(replica: Replica) -> None:
    with replica(DEFINITIONS, SLIMFAAS_MAX_STREAMS="0") as service:
        for wait, applied in ((0, "wait=0"), ("soon", None), (-1, None)):
            location = start(service, "waiting")
            answer = call("GET", service, location, wait=wait)
            assert answer.status_code == 200
            assert answer.headers.get("Preference-Applied") == applied


def check_declined(answer: requests.Response, status: int) -> None:
    """Check that a response is the one to a request without `Prefer: wait`."""
    assert (answer.status_code, answer.json()["Status"]) == (status, "Queued"), answer.text
    assert "Preference-Applied" not in answer.headers


def test_too_many_waits__are_answered_at_once_and_logs_are_refused(replica: Replica, proxy: FaultProxy) -> None:
    """A POST stores its run all the same."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="1") as service:
        location = start(service, "waiting")
        with RawClient(service.port).send_request("GET", location, "Prefer: wait=300"):
            await_watch(proxy, location)
            check_declined(call("GET", service, location), 200)
            accepted = call("POST", service, "/job/waiting")
            check_declined(accepted, 202)
            assert service.get(accepted.headers["Location"]).json()["Status"] == "Queued"
            refused = service.get(f"{location}/logs")
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) > 0
            check_document(refused.json(), 429)


@pytest.mark.slow
def test_strangers__that_take_all_their_places_leave_some_to_trusted_callers(
    replica: Replica, proxy: FaultProxy
) -> None:
    """For waits and logs, of public runs and private ones. Without a place, a run is stored and its wait declined."""
    definitions = {**DEFINITIONS, "private": {**SHORT, "Visibility": "Private"}}
    with replica(definitions, url=proxy.url, SLIMFAAS_TRUSTED_NETWORKS="127.0.0.9/32") as service:
        running, queued = start_running(service, "sleeper"), start(service, "waiting")
        crowd = [RawClient(service.port).send_request("GET", queued, "Prefer: wait=300") for _ in range(25)]
        try:
            await_watch(proxy, queued, count=19)
            check_declined(call("GET", service, queued), 200)
            check_declined(call("POST", service, "/job/waiting"), 202)
            assert service.get(f"{running}/logs").status_code == 429
            trusted = trusted_session()
            assert trusted.get(f"{service.url}{running}/logs", timeout=DEADLINE_SECONDS).status_code == 200
            for method, path, wait in (("GET", queued, 1), ("POST", "/job/short", 120), ("POST", "/job/private", 120)):
                prefer = {"Prefer": f"wait={wait}"}
                answer = trusted.request(method, service.url + path, headers=prefer, timeout=DEADLINE_SECONDS)
                assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, f"wait={wait}")
        finally:
            for raw_client in crowd:
                raw_client.close()


def trusted_session() -> requests.Session:
    """Return a client whose requests come from 127.0.0.9."""
    session = requests.Session()
    session.mount("http://", _FromTrustedAddress())
    return session


class _FromTrustedAddress(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=("127.0.0.9", 0))


@pytest.mark.slow
def test_waits__that_begin_at_the_same_time_are_all_served(replica: Replica, proxy: FaultProxy) -> None:
    """Reads of the run are slow and limited in number; the other requests wait for them."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "waiting")
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs/[^/]+$", when=lambda read: not read.watching, times=None))
        raw_clients = [RawClient(service.port).send_request("GET", location, "Prefer: wait=300") for _ in range(19)]
        try:
            slow.wait_held(MAX_READS, DEADLINE_SECONDS)
            time.sleep(0.5)
            slow.release()
            await_watch(proxy, location, count=19)
        finally:
            slow.release()
            for raw_client in raw_clients:
                raw_client.close()


def test_waiting__deleted_run__ends_the_wait(server: Server, shared: Shared) -> None:
    """404 for a read, 202 for the request that started it."""
    batch = client.BatchV1Api(server.admin)
    service, proxy, namespace = shared
    with in_background("POST", service, "/job/waiting") as starting:
        (job,) = until(lambda: batch.list_namespaced_job(namespace).items)
        location = f"/job/waiting/{job.metadata.name[-12:]}"
        await_watch(proxy, location)
        with in_background("GET", service, location) as reading:
            await_watch(proxy, location, count=2)
            batch.delete_namespaced_job(job.metadata.name, namespace, propagation_policy="Background")
            assert reading.result().status_code == 404
        answer = starting.result()
    assert (answer.status_code, answer.headers["Location"]) == (202, location)
    assert answer.json() == {"Id": location[-12:], "Name": job.metadata.name, "Status": "Queued"}


@pytest.mark.slow
def test_waiting_post__run_that_is_deleted_right_after_its_end__is_returned(replica: Replica) -> None:
    """The watch has seen its last state."""
    with replica({"short": {**SHORT, "TtlSecondsAfterFinished": 0}}) as service:
        answer = call("POST", service, "/job/short", wait=120)
        assert (answer.status_code, answer.json()["Status"]) == (200, "Succeeded")


@pytest.mark.slow
def test_waiting__survives_an_outage_that_ends_in_time(replica: Replica, proxy: FaultProxy) -> None:
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start_running(service, "short")
        with in_background("GET", service, location, wait=120) as waiting:
            await_watch(proxy, location)
            proxy.refuse_connections()
            proxy.cut_all()
            time.sleep(2.0)  # the run ends meanwhile
            proxy.heal()
            assert waiting.result().json()["Status"] == "Succeeded"


@pytest.mark.slow
def test_waiting__in_an_outage__ends_in_time(replica: Replica, proxy: FaultProxy) -> None:
    """503 for a read; 202 for the request that started the run, because the run is stored."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        with in_background("POST", service, "/job/waiting", wait=4) as starting:
            proxy.wait_for(lambda request: request.watching and "metadata.name" in request.query)
            location = "/job/waiting/" + next(
                request.query.partition("metadata.name%3D")[2].partition("&")[0][-12:]
                for request in proxy.requests
                if "metadata.name" in request.query
            )
            with in_background("GET", service, location, wait=3) as reading:
                await_watch(proxy, location, count=2)
                proxy.refuse_connections()
                proxy.cut_all()
                assert reading.result().status_code == 503
            answer = starting.result()
        assert (answer.status_code, answer.headers["Location"], answer.json()["Status"]) == (202, location, "Queued")


def test_waiting__on_a_silent_watch__ends_in_time(shared: Shared) -> None:
    service, proxy, _ = shared
    location = start(service, "waiting")
    silent = proxy.add(Fault(GoSilent(), when=is_watch_of_one, times=None))
    answer = call("GET", service, location, wait=2)
    assert (answer.status_code, answer.json()["Status"]) == (200, "Queued")
    assert proxy.hits(silent) == 1


@pytest.mark.slow
def test_waiting__expired_or_truncated_watch__reads_the_run_again(shared: Shared) -> None:
    service, proxy, _ = shared
    expired = proxy.add(Fault(Refuse(410, "Expired"), when=is_watch_of_one, times=2))
    broken = proxy.add(Fault(Truncate(50), when=is_watch_of_one))
    answer = call("POST", service, "/job/short", wait=120)
    assert (answer.status_code, answer.json()["Status"]) == (200, "Succeeded")
    assert (proxy.hits(expired), proxy.hits(broken)) == (2, 1)


@pytest.mark.slow
def test_waiting__client_that_disconnects__frees_its_watch_and_its_slot(replica: Replica, proxy: FaultProxy) -> None:
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="2") as service:
        location = start(service, "waiting")
        for count in (2, 4, 6):
            raw_clients = [begin_wait(service, proxy, location, number) for number in (count - 1, count)]
            for raw_client in raw_clients:
                raw_client.close()
            until(lambda: open_watches(proxy, location) == 0)
            until(lambda: call("GET", service, location, wait=1).status_code == 200)


@pytest.mark.slow
@PRINTS
def test_log__client_that_disconnects_while_it_is_silent__frees_its_connection_and_its_slot(
    replica: Replica, proxy: FaultProxy
) -> None:
    """Even if the client has sent another request before."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="1") as service:
        location = start_running(service, "sleeper")
        for trailing in (b"", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"):
            raw_client, answer = follow(service, location)
            assert open_logs(proxy) == 1
            raw_client.send(trailing).close()
            answer.close()  # the response also holds the connection open
            until(lambda: open_logs(proxy) == 0)
            until(lambda: service.get(f"{location}/logs").status_code == 200)
        service.stop()  # so that all is logged
        assert "broke off" not in service.log_text


@pytest.mark.slow
@PRINTS
def test_log__client_that_disconnects_before_the_first_line__frees_its_slot(
    replica: Replica, proxy: FaultProxy
) -> None:
    """A kubelet sends no response before the log's first line."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="1") as service:
        location = start_running(service, "sleeper")
        silent = proxy.add(Fault(GoSilent(), path=r"/log$"))
        with RawClient(service.port).send_request("GET", f"{location}/logs?follow=true"):
            until(lambda: proxy.hits(silent) == 1)
        until(lambda: service.get(f"{location}/logs").status_code == 200)


@PRINTS
def test_log__lines_arrive_as_they_are_printed(shared: Shared) -> None:
    """The response ends when the run ends."""
    body = {"Args": ["sh", "-c", "echo one; sleep 1; echo two; sleep 1; exit 3"], "BackoffLimit": 0}
    service, _, _ = shared
    raw_client, answer = follow(service, start_running(service, "short", body))
    with raw_client:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.readline() == b"one\n"
        assert answer.read() == b"two\n"


@PRINTS
@pytest.mark.parametrize("fault", ["cut", *slow("unreachable")])
def test_log__broken_connection_to_the_api_server__does_not_look_complete(
    replica: Replica, proxy: FaultProxy, fault: str
) -> None:
    """The chunked response has no terminating chunk."""
    body = {"Args": ["sh", "-c", "echo one; sleep 600"]}
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start_running(service, "sleeper", body)
        raw_client, answer = follow(service, location)
        with raw_client:
            assert answer.readline() == b"one\n"
            if fault == "unreachable":
                proxy.refuse_connections()
            proxy.cut_all()
            with pytest.raises(IncompleteRead):
                answer.read()
        assert "the log of sleeper/" in service.log_text
        assert "Traceback" not in service.log_text


@pytest.mark.slow
@PRINTS
def test_log__truncated_and_not_followed__does_not_look_complete(replica: Replica, proxy: FaultProxy) -> None:
    body = {"Args": ["sh", "-c", "for i in $(seq 1000); do echo $i; done"]}
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "short", body)
        until(lambda: service.get(location).json()["Status"] == "Succeeded")
        proxy.add(Fault(Truncate(500), path=r"/log$"))
        with RawClient(service.port) as raw_client:
            answer = raw_client.send_request("GET", f"{location}/logs").answer()
            with pytest.raises(IncompleteRead) as broken:
                answer.read()
            assert broken.value.partial.startswith(b"1\n2\n3\n")
        assert len(service.get(f"{location}/logs").text.splitlines()) == 1000


@PRINTS
def test_fifty_long_requests__leave_threads_for_others(replica: Replica, proxy: FaultProxy) -> None:
    """With a limit of 66, of which strangers get 50: half of them waiting, half following; one more is declined."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="66") as service:
        running, queued = start_running(service, "sleeper"), start(service, "waiting")
        raw_clients = [begin_wait(service, proxy, queued, count) for count in range(1, 26)]
        raw_clients += [follow(service, running)[0] for _ in range(25)]
        try:
            check_declined(call("GET", service, queued), 200)
            check_declined(call("POST", service, "/job/waiting"), 202)
            for _ in range(20):
                assert service.get("/health").status_code == 200
                assert service.post("/job/waiting").status_code == 202
            assert service.get(queued).status_code == 200
        finally:
            for raw_client in raw_clients:
                raw_client.close()


@pytest.mark.slow
@PRINTS
def test_logs_that_end_together__log_no_warning(replica: Replica) -> None:
    """The connection pool has room for all of their connections."""
    body = {"Args": ["sh", "-c", "echo one; sleep 5"]}
    with replica(DEFINITIONS, SLIMFAAS_MAX_STREAMS="66") as service:
        location = start_running(service, "sleeper", body)
        logs = [follow(service, location) for _ in range(48)]
        for raw_client, answer in logs:
            with raw_client:
                assert answer.read() == b"one\n"
        assert "WARNING" not in service.log_text


@PRINTS
@pytest.mark.slow
def test_sigterm__ends_long_requests(replica: Replica, proxy: FaultProxy) -> None:
    """Waits return the current run, logs break off, and the process exits."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="33", **LONG_GRACEFUL_TIMEOUT) as service:
        running, queued = start_running(service, "sleeper"), start(service, "waiting")
        waits = [begin_wait(service, proxy, queued, count) for count in range(1, 11)]
        logs = [follow(service, running) for _ in range(10)]
        statuses: list[int] = []
        reader = threading.Thread(target=lambda: statuses.extend(raw_client.answer().status for raw_client in waits))
        reader.start()
        assert service.stop() == 0
        reader.join(DEADLINE_SECONDS)
        assert statuses == [200] * 10
        for raw_client, answer in logs:
            with raw_client, pytest.raises(IncompleteRead):
                answer.read()
        for raw_client in waits:
            raw_client.close()
        assert "Traceback" not in service.log_text
