"""Many requests of one kind at once do not block other requests."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import requests

from app.common.concurrency_limiter import MAX_CALLS, MAX_READS
from app.runs.pagination import write_continuation
from tests.e2e.callers import Replica
from tests.http.clients import CONTINUE, DEFINITIONS, RawClient
from tests.integration.dispatching import until
from tests.support.faults import Fault, FaultProxy, Hold
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

CROWD = MAX_CALLS + 6
BURST = 64


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """Provide a proxy between the service and the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as running:
        yield running


def token(number: int) -> str:
    """Return one of many well-formed tokens."""
    claims = base64.urlsafe_b64encode(json.dumps({"n": number}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


@contextmanager
def crowd(call: Callable[[int], requests.Response]) -> Iterator[list[int]]:
    """Make many requests at the same time; yield the statuses of the responses, once there is one."""
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: statuses.append(call(number).status_code))
        for number in range(CROWD)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: statuses)
        yield statuses
    finally:
        for thread in threads:
            thread.join()


def check_others_are_served(service: ServiceProcess) -> None:
    """Check that a public run can be started and that the probes succeed."""
    responses = [service.post("/job/public"), service.get("/health"), service.get("/ready")]
    assert [response.status_code for response in responses] == [202, 200, 200]


@pytest.mark.slow
def test_slow_lists__do_not_block_other_requests(replica: Replica, proxy: FaultProxy) -> None:
    """Every list differs and all are slow: those above the limit get a 503, and other requests are served."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_DISPATCHER="off") as service:
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs$", times=None))
        call = partial(requests.get, f"{service.url}/job/public", timeout=DEADLINE_SECONDS)
        with crowd(lambda number: call(params={"continue": write_continuation((number, "a"))})) as statuses:
            try:
                assert set(statuses) == {503}
                check_others_are_served(service)
                # Its position in the queue would need a list; the response says that it is queued all the same.
                waited = requests.post(
                    f"{service.url}/job/public", headers={"Prefer": "wait=1"}, timeout=DEADLINE_SECONDS
                )
                assert (waited.status_code, waited.json()["Status"]) == (202, "Queued")
            finally:
                slow.release()


@pytest.mark.slow
def test_slow_token_reviews__do_not_block_other_requests(replica: Replica, proxy: FaultProxy) -> None:
    """Every token differs, and the API server reviews them slowly."""
    accounts = {"SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": "a:*", "SLIMFAAS_DISPATCHER": "off"}
    with replica(DEFINITIONS["Configurations"], url=proxy.url, **accounts) as service:

        def call(number: int) -> requests.Response:
            headers = {"Authorization": f"Bearer {token(number)}"}
            return requests.get(f"{service.url}/job/private", headers=headers, timeout=DEADLINE_SECONDS)

        slow = Hold()
        proxy.add(Fault(slow, method="POST", path=r"/tokenreviews$", times=None))
        with crowd(call) as statuses:
            try:
                assert set(statuses) == {503}
                check_others_are_served(service)
            finally:
                slow.release()


@pytest.mark.slow
def test_slow_bodies__do_not_block_other_requests(replica: Replica) -> None:
    """A request uses a slot of the limiter only once its body has arrived."""
    with replica(DEFINITIONS["Configurations"], SLIMFAAS_DISPATCHER="off") as service:
        clients = [RawClient(service.port) for _ in range(CROWD)]
        try:
            for client in clients:
                client.send_request("POST", "/job/public", "Content-Length: 2", "Expect: 100-continue")
            for client in clients:
                assert client.receive(len(CONTINUE)) == CONTINUE  # a thread serves it
            check_others_are_served(service)
        finally:
            for client in clients:
                client.close()


def test_burst__over_many_connections_is_stored_without_a_refusal(replica: Replica, proxy: FaultProxy) -> None:
    """More requests than threads, each of them short; the probes succeed meanwhile."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_MAX_STREAMS="0") as service:
        slow = Hold()
        proxy.add(Fault(slow, method="POST", path=r"/jobs$", times=None))
        clients = [RawClient(service.port) for _ in range(BURST)]
        try:
            for client in clients:
                client.send_request("POST", "/job/public")
            slow.wait_held(MAX_CALLS)
            for path in ("/health", "/ready", "/metrics"):
                assert service.get(path).status_code == 200
            time.sleep(0.5)
            slow.release()
            assert Counter(read_status(client) for client in clients) == {202: BURST}
            for client in clients:  # reuse the same connections
                client.send_request("POST", "/job/public")
            assert Counter(read_status(client) for client in clients) == {202: BURST}
        finally:
            slow.release()
            for client in clients:
                client.close()


@pytest.mark.slow
def test_burst__of_reads_leaves_threads_to_others(replica: Replica, proxy: FaultProxy) -> None:
    """Many slow reads do not delay a request that starts a run."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_MAX_STREAMS="0") as service:
        location = service.post("/job/public").headers["Location"]
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs/[^/]+$", times=None))
        clients = [RawClient(service.port).send_request("GET", location) for _ in range(BURST)]
        try:
            slow.wait_held(MAX_READS)
            check_others_are_served(service)
            slow.release()
            assert Counter(read_status(client) for client in clients) == {200: BURST}
        finally:
            slow.release()
            for client in clients:
                client.close()


def read_status(client: RawClient) -> int:
    """Read a whole response, so that its connection can be used again."""
    response = client.answer()
    response.read()
    return response.status
