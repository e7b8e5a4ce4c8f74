"""Many callers of one kind at once: they keep each other waiting, and nobody else."""

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
    """Stands between the service and the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as running:
        yield running


def token(number: int) -> str:
    """One of many that look as if they might be good."""
    claims = base64.urlsafe_b64encode(json.dumps({"n": number}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


@contextmanager
def crowd(call: Callable[[int], requests.Response]) -> Iterator[list[int]]:
    """Many call at the same time; yields the statuses of those who were answered, as soon as somebody was."""
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
    """Who starts a run of a public definition, and the probes, notice nothing."""
    answers = [service.post("/job/public"), service.get("/health"), service.get("/ready")]
    assert [answer.status_code for answer in answers] == [202, 200, 200]


@pytest.mark.slow
def test_those_who_list_keep_nobody_from_starting_runs(replica: Replica, proxy: FaultProxy) -> None:
    """Every list is another one, and all are slow: who finds no place is told so, and the other places stay free."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_DISPATCHER="off") as service:
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs$", times=None))
        call = partial(requests.get, f"{service.url}/job/public", timeout=DEADLINE_SECONDS)
        with crowd(lambda number: call(params={"continue": write_continuation((number, "a"))})) as statuses:
            try:
                assert set(statuses) == {503}
                check_others_are_served(service)
                # Its place in the queue would take a list; that it is stored can be said all the same.
                waited = requests.post(
                    f"{service.url}/job/public", headers={"Prefer": "wait=1"}, timeout=DEADLINE_SECONDS
                )
                assert (waited.status_code, waited.json()["Status"]) == (202, "Queued")
            finally:
                slow.release()


def test_those_who_show_tokens_keep_nobody_from_starting_runs(replica: Replica, proxy: FaultProxy) -> None:
    """However many different ones they make up, and however long the API server ponders them."""
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


def test_those_who_send_slowly_keep_nobody_from_starting_runs(replica: Replica) -> None:
    """A place is for a call that waits for the API server, not for one whose body isn't there yet."""
    with replica(DEFINITIONS["Configurations"], SLIMFAAS_DISPATCHER="off") as service:
        wires = [RawClient(service.port) for _ in range(CROWD)]
        try:
            for wire in wires:
                wire.send_request("POST", "/job/public", "Content-Length: 2", "Expect: 100-continue")
            for wire in wires:
                assert wire.receive(len(CONTINUE)) == CONTINUE  # a thread is at work on it
            check_others_are_served(service)
        finally:
            for wire in wires:
                wire.close()


def test_burst__over_many_connections_is_stored_without_a_refusal(replica: Replica, proxy: FaultProxy) -> None:
    """More requests than threads, of which none goes on for longer than a moment; the probes answer all the while."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_MAX_STREAMS="0") as service:
        slow = Hold()
        proxy.add(Fault(slow, method="POST", path=r"/jobs$", times=None))
        wires = [RawClient(service.port, timeout_seconds=60) for _ in range(BURST)]
        try:
            for wire in wires:
                wire.send_request("POST", "/job/public")
            slow.wait_held(MAX_CALLS, 30)
            for path in ("/health", "/ready", "/metrics"):
                assert service.get(path).status_code == 200
            time.sleep(0.5)
            slow.release()
            assert Counter(read_status(wire) for wire in wires) == {202: BURST}
            for wire in wires:  # the same connections once more
                wire.send_request("POST", "/job/public")
            assert Counter(read_status(wire) for wire in wires) == {202: BURST}
        finally:
            slow.release()
            for wire in wires:
                wire.close()


def test_burst__of_reads_leaves_threads_to_others(replica: Replica, proxy: FaultProxy) -> None:
    """However many there are, and however slow: whoever starts a run does not notice."""
    with replica(DEFINITIONS["Configurations"], url=proxy.url, SLIMFAAS_MAX_STREAMS="0") as service:
        location = service.post("/job/public").headers["Location"]
        slow = Hold()
        proxy.add(Fault(slow, method="GET", path=r"/jobs/[^/]+$", times=None))
        wires = [RawClient(service.port, timeout_seconds=60).send_request("GET", location) for _ in range(BURST)]
        try:
            slow.wait_held(MAX_READS, 30)
            check_others_are_served(service)
            slow.release()
            assert Counter(read_status(wire) for wire in wires) == {200: BURST}
        finally:
            slow.release()
            for wire in wires:
                wire.close()


def read_status(wire: RawClient) -> int:
    """Read a whole answer, so that its connection can be used again."""
    answer = wire.answer()
    answer.read()
    return answer.status
