"""Calls that last, on the service as a process: waits and logs beside all other calls, in outages, and at its end."""

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
from tests.support.servers import Server
from tests.support.service import LONG_GRACEFUL_TIMEOUT, ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

PRINTS = pytest.mark.embedded_only("the nodes of the real control plane run no processes, whose logs could last")

SLEEPER: dict[str, Any] = {
    "Image": "busybox:1",
    "Visibility": "Public",
    "NumberParallelJob": 4,
    "Args": ["sleep", "600"],
    "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "600s"}],
}
SHORT = {**SLEEPER, "Args": ["sleep", "1.5"], "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "1500ms"}]}
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
    """Stands between the service and the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as running:
        yield running


def start(service: ServiceProcess, definition: str, body: dict[str, Any] | None = None) -> str:
    answer = service.post(f"/job/{definition}", body)
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


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
def later(method: str, service: ServiceProcess, path: str, **options: Any) -> Iterator["Future[requests.Response]"]:
    """Make a call that lasts, in a thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, method, service, path, **options)


def is_watch_of_one(request: Request) -> bool:
    return request.watching and "metadata.name" in request.query


def is_watch_of(location: str) -> Callable[[Request], bool]:
    return lambda request: request.watching and f"metadata.name%3D{name_of(location)}" in request.query


def await_watch(proxy: FaultProxy, location: str, count: int = 1) -> None:
    """Return once a run is being watched for whoever waits for it, for the so-manieth time."""
    proxy.wait_for(is_watch_of(location), count=count, timeout_seconds=DEADLINE_SECONDS)


def begin_wait(service: ServiceProcess, proxy: FaultProxy, location: str, count: int) -> RawClient:
    """Begin to wait for a run, as the so-manieth; the service has begun with it when this returns."""
    wire = RawClient(service.port).send_request("GET", location, "Prefer: wait=300")
    await_watch(proxy, location, count=count)
    return wire


def open_watches(proxy: FaultProxy, location: str) -> int:
    return sum(request.finished is None for request in proxy.requests if is_watch_of(location)(request))


def open_logs(proxy: FaultProxy) -> int:
    return sum(request.path.endswith("/log") and request.finished is None for request in proxy.requests)


def follow(service: ServiceProcess, location: str, query: str = "") -> tuple[RawClient, HTTPResponse]:
    """Follow a log, up to the head of the answer."""
    wire = RawClient(service.port)
    answer = wire.send_request("GET", f"{location}/logs?follow=true{query}").answer()
    assert answer.status == 200
    return wire, answer


def test_a_post_that_waits_is_answered_with_the_finished_run(replica: Replica) -> None:
    """One call from the request to its outcome; a run that failed is an outcome, too."""
    with replica(DEFINITIONS) as service:
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


def test_a_get_that_waits_is_answered_when_the_run_ends(replica: Replica, proxy: FaultProxy) -> None:
    """Neither much sooner nor when the time is up; and so is a HEAD."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "short")
        with later("HEAD", service, location) as head:
            assert call("GET", service, location).json()["Status"] == "Succeeded"
            assert head.result().status_code == 200
        reads = [request for request in proxy.requests if request.path.endswith(name_of(location))]
        assert len([request for request in reads if request.method == "GET"]) <= 10  # it is watched, not asked for


def test_when_the_time_is_up_the_answer_is_the_run_as_it_is(replica: Replica) -> None:
    """202 for the call that started it, 200 for a read."""
    with replica(DEFINITIONS) as service:
        answer = call("POST", service, "/job/waiting", wait=1)
        assert answer.status_code == 202, answer.text
        run = answer.json()
        assert (run["Status"], run["PositionInQueue"]) == ("Queued", 1)
        again = call("GET", service, answer.headers["Location"], wait=1)
        assert (again.status_code, again.json()) == (200, run)
        assert again.headers["Preference-Applied"] == answer.headers["Preference-Applied"] == "wait=1"


def test_who_does_not_want_to_wait_does_not(replica: Replica) -> None:
    """Nor who says so in a way that doesn't count."""
    with replica(DEFINITIONS, SLIMFAAS_MAX_STREAMS="0") as service:
        for wait, applied in ((0, "wait=0"), ("soon", None), (-1, None)):
            location = start(service, "waiting")
            answer = call("GET", service, location, wait=wait)
            assert answer.status_code == 200
            assert answer.headers.get("Preference-Applied") == applied


def check_declined(answer: requests.Response, status: int) -> None:
    """The answer is that of a request which does not want to wait."""
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


def test_too_many_waits__of_public_definitions_leave_some_to_callers_of_private_ones(
    replica: Replica, proxy: FaultProxy
) -> None:
    definitions = {**DEFINITIONS, "private": {**DEFINITIONS["waiting"], "Visibility": "Private"}}
    settings = {"SLIMFAAS_MAX_STREAMS": "4", "SLIMFAAS_TRUSTED_NETWORKS": "127.0.0.0/8"}
    with replica(definitions, url=proxy.url, **settings) as service:
        public, private = start(service, "waiting"), start(service, "private")
        wires = [RawClient(service.port).send_request("GET", public, "Prefer: wait=300") for _ in range(3)]
        try:
            await_watch(proxy, public, count=3)
            check_declined(call("GET", service, public), 200)
            wires.append(RawClient(service.port).send_request("GET", private, "Prefer: wait=300"))
            await_watch(proxy, private)
            check_declined(call("GET", service, private), 200)
        finally:
            for wire in wires:
                wire.close()


def test_waits__that_begin_at_the_same_time_are_all_served(replica: Replica, proxy: FaultProxy) -> None:
    """However long each read of the run takes: twelve requests read at the same time, the others wait for them."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "waiting")
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs/[^/]+$", when=lambda read: not read.watching, times=None))
        wires = [RawClient(service.port).send_request("GET", location, "Prefer: wait=300") for _ in range(25)]
        try:
            slow.wait_held(MAX_READS, DEADLINE_SECONDS)
            time.sleep(0.5)
            slow.release()
            await_watch(proxy, location, count=25)
        finally:
            slow.release()
            for wire in wires:
                wire.close()


def test_a_run_that_is_deleted_is_waited_for_no_longer(
    server: Server, namespace: str, replica: Replica, proxy: FaultProxy
) -> None:
    """Who reads it hears that it is gone; who started it, that it was accepted."""
    batch = client.BatchV1Api(server.admin)
    with replica(DEFINITIONS, url=proxy.url) as service:
        with later("POST", service, "/job/waiting") as starting:
            (job,) = until(lambda: batch.list_namespaced_job(namespace).items)
            location = f"/job/waiting/{job.metadata.name[-12:]}"
            await_watch(proxy, location)
            with later("GET", service, location) as reading:
                await_watch(proxy, location, count=2)
                batch.delete_namespaced_job(job.metadata.name, namespace, propagation_policy="Background")
                assert reading.result().status_code == 404
            answer = starting.result()
        assert (answer.status_code, answer.headers["Location"]) == (202, location)
        assert answer.json() == {"Id": location[-12:], "Name": job.metadata.name, "Status": "Queued"}


def test_a_run_that_is_removed_as_soon_as_it_ends_is_still_answered_with(replica: Replica) -> None:
    """Its last state was seen on the way."""
    with replica({"short": {**SHORT, "TtlSecondsAfterFinished": 0}}) as service:
        answer = call("POST", service, "/job/short", wait=120)
        assert (answer.status_code, answer.json()["Status"]) == (200, "Succeeded")


@pytest.mark.slow
def test_a_wait_outlasts_an_api_server_that_is_away(replica: Replica, proxy: FaultProxy) -> None:
    """The caller hears nothing of an outage that is over before its time is up."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start_running(service, "short")
        with later("GET", service, location, wait=120) as waiting:
            await_watch(proxy, location)
            proxy.refuse_connections()
            proxy.cut_all()
            time.sleep(2.0)  # the run ends meanwhile
            proxy.heal()
            assert waiting.result().json()["Status"] == "Succeeded"


@pytest.mark.slow
def test_a_wait_for_a_run_of_which_nothing_can_be_read_ends_in_time(replica: Replica, proxy: FaultProxy) -> None:
    """503 for a read; 202 for the call that started the run, for it is stored."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        with later("POST", service, "/job/waiting", wait=4) as starting:
            proxy.wait_for(lambda request: request.watching and "metadata.name" in request.query)
            location = "/job/waiting/" + next(
                request.query.partition("metadata.name%3D")[2].partition("&")[0][-12:]
                for request in proxy.requests
                if "metadata.name" in request.query
            )
            with later("GET", service, location, wait=3) as reading:
                await_watch(proxy, location, count=2)
                proxy.refuse_connections()
                proxy.cut_all()
                assert reading.result().status_code == 503
            answer = starting.result()
        assert (answer.status_code, answer.headers["Location"], answer.json()["Status"]) == (202, location, "Queued")


def test_a_wait_on_a_silent_api_server_ends_in_time(replica: Replica, proxy: FaultProxy) -> None:
    """A watch that brings nothing doesn't hold a caller longer than it wants to be held."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "waiting")
        silent = proxy.add(Fault(GoSilent(), when=is_watch_of_one, times=None))
        answer = call("GET", service, location, wait=2)
        assert (answer.status_code, answer.json()["Status"]) == (200, "Queued")
        assert proxy.hits(silent) == 1


def test_a_wait_goes_on_when_the_api_server_has_forgotten_where_it_was(replica: Replica, proxy: FaultProxy) -> None:
    """410 Gone, and a watch that is cut off in the middle, mean reading the run again."""
    with replica(DEFINITIONS, url=proxy.url) as service:
        forgot = proxy.add(Fault(Refuse(410, "Expired"), when=is_watch_of_one, times=2))
        broken = proxy.add(Fault(Truncate(50), when=is_watch_of_one))
        answer = call("POST", service, "/job/short", wait=120)
        assert (answer.status_code, answer.json()["Status"]) == (200, "Succeeded")
        assert (proxy.hits(forgot), proxy.hits(broken)) == (2, 1)


@pytest.mark.slow
def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(replica: Replica, proxy: FaultProxy) -> None:
    """Neither a watch nor a place: those who come after it find one."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="2") as service:
        location = start(service, "waiting")
        for count in (2, 4, 6):
            wires = [begin_wait(service, proxy, location, number) for number in (count - 1, count)]
            for wire in wires:
                wire.close()
            until(lambda: open_watches(proxy, location) == 0)
            until(lambda: call("GET", service, location, wait=1).status_code == 200)


@PRINTS
def test_a_client_that_leaves_while_a_log_is_silent_leaves_nothing_behind(replica: Replica, proxy: FaultProxy) -> None:
    """Neither a connection nor a place; one that has sent something more before it left is no different."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="1") as service:
        location = start_running(service, "sleeper")
        for trailing in (b"", b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"):
            wire, answer = follow(service, location)
            assert open_logs(proxy) == 1
            wire.send(trailing).close()
            answer.close()  # it holds the connection open, too
            until(lambda: open_logs(proxy) == 0)
            until(lambda: service.get(f"{location}/logs").status_code == 200)


@PRINTS
def test_a_client_can_leave_before_the_kubelet_has_answered(replica: Replica, proxy: FaultProxy) -> None:
    """A kubelet answers with the first line of a log, which may be long in coming."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="1") as service:
        location = start_running(service, "sleeper")
        silent = proxy.add(Fault(GoSilent(), path=r"/log$"))
        with RawClient(service.port).send_request("GET", f"{location}/logs?follow=true"):
            until(lambda: proxy.hits(silent) == 1)
        until(lambda: service.get(f"{location}/logs").status_code == 200)


@PRINTS
def test_lines_arrive_as_they_are_printed_and_the_end_when_the_run_ends(replica: Replica) -> None:
    """Nothing keeps them back, and a complete log ends as an answer does."""
    body = {"Args": ["sh", "-c", "echo one; sleep 1; echo two; sleep 1; exit 3"], "BackoffLimit": 0}
    with replica(DEFINITIONS) as service:
        wire, answer = follow(service, start_running(service, "short", body))
        with wire:
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert answer.readline() == b"one\n"
            assert answer.read() == b"two\n"


@PRINTS
@pytest.mark.parametrize("fault", ["away", "cut"])
def test_a_log_that_breaks_off_does_not_look_complete(replica: Replica, proxy: FaultProxy, fault: str) -> None:
    """The answer has no end, whether the API server is away or has only dropped the connection."""
    body = {"Args": ["sh", "-c", "echo one; sleep 600"]}
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start_running(service, "sleeper", body)
        wire, answer = follow(service, location)
        with wire:
            assert answer.readline() == b"one\n"
            if fault == "away":
                proxy.refuse_connections()
            proxy.cut_all()
            with pytest.raises(IncompleteRead):
                answer.read()
        assert "the log of sleeper/" in service.log_text
        assert "Traceback" not in service.log_text


@PRINTS
def test_a_log_that_is_cut_short_does_not_look_complete(replica: Replica, proxy: FaultProxy) -> None:
    """Also where it isn't followed."""
    body = {"Args": ["sh", "-c", "for i in $(seq 1000); do echo $i; done"]}
    with replica(DEFINITIONS, url=proxy.url) as service:
        location = start(service, "short", body)
        until(lambda: service.get(location).json()["Status"] == "Succeeded")
        proxy.add(Fault(Truncate(500), path=r"/log$"))
        with RawClient(service.port) as wire:
            answer = wire.send_request("GET", f"{location}/logs").answer()
            with pytest.raises(IncompleteRead) as broken:
                answer.read()
            assert broken.value.partial.startswith(b"1\n2\n3\n")
        assert len(service.get(f"{location}/logs").text.splitlines()) == 1000


@PRINTS
def test_fifty_calls_that_last_leave_all_others_their_threads(replica: Replica, proxy: FaultProxy) -> None:
    """On one replica that has places for them, half of them waiting, half of them following; one more is refused."""
    with replica(DEFINITIONS, url=proxy.url, SLIMFAAS_MAX_STREAMS="50") as service:
        running, queued = start_running(service, "sleeper"), start(service, "waiting")
        wires = [begin_wait(service, proxy, queued, count) for count in range(1, 26)]
        wires += [follow(service, running)[0] for _ in range(25)]
        try:
            check_declined(call("GET", service, queued), 200)
            check_declined(call("POST", service, "/job/waiting"), 202)
            for _ in range(20):
                assert service.get("/health").status_code == 200
                assert service.post("/job/waiting").status_code == 202
            assert service.get(queued).status_code == 200
        finally:
            for wire in wires:
                wire.close()


@pytest.mark.slow
@PRINTS
def test_many_logs_that_end_together_are_nothing_to_warn_of(replica: Replica) -> None:
    """There is room for all of their connections."""
    body = {"Args": ["sh", "-c", "echo one; sleep 5"]}
    with replica(DEFINITIONS, SLIMFAAS_MAX_STREAMS="50") as service:
        location = start_running(service, "sleeper", body)
        logs = [follow(service, location) for _ in range(48)]
        for wire, answer in logs:
            with wire:
                assert answer.read() == b"one\n"
        assert "WARNING" not in service.log_text


@PRINTS
def test_a_stopped_service_ends_what_lasts(replica: Replica, proxy: FaultProxy) -> None:
    """Waits are answered with what is known, logs break off, and the process ends within its grace."""
    with replica(DEFINITIONS, url=proxy.url, **LONG_GRACEFUL_TIMEOUT) as service:
        running, queued = start_running(service, "sleeper"), start(service, "waiting")
        waits = [begin_wait(service, proxy, queued, count) for count in range(1, 11)]
        logs = [follow(service, running) for _ in range(10)]
        answers: list[int] = []
        reader = threading.Thread(target=lambda: answers.extend(wire.answer().status for wire in waits))
        reader.start()
        assert service.stop() == 0
        reader.join(DEADLINE_SECONDS)
        assert answers == [200] * 10
        for wire, answer in logs:
            with wire, pytest.raises(IncompleteRead):
                answer.read()
        for wire in waits:
            wire.close()
        assert "Traceback" not in service.log_text
