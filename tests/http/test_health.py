"""The probes: `/health` asks nobody, `/ready` asks once whether runs can be read."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.http.clients import DEFINITIONS, Caller, Wire, check_problem
from tests.support.faults import Fault, FaultProxy, Hold
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess

PROBE_SECONDS = 8.0
"""`timeoutSeconds` of the manifest's probes."""


def test_health_is_ok_whatever_the_api_server_does(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """An outage of the API server must get no pod killed."""
    proxy.refuse_connections()
    answer = caller_by_proxy.get("/health")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "OK\n", "text/plain")
    assert proxy.requests == []


def test_ready_once_runs_can_be_read_and_from_then_on(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """Later outages are for callers to hear of, from a pod that still has traffic."""
    hold = proxy.add(Fault(Hold(), method="GET"))
    proxy.refuse_connections()
    answer = caller_by_proxy.get("/ready")
    assert "stored" not in check_problem(answer, 503)["detail"]
    assert "Retry-After" in answer.headers

    proxy.remove(hold)
    proxy.heal()
    ready = caller_by_proxy.get("/ready").json
    assert ready is not None
    assert ready.pop("Configuration").keys() == {"Status", "LoadTimestamp", "Faults"}
    assert ready == {"Status": "Ready", "Dispatcher": "following"}

    proxy.refuse_connections()
    assert caller_by_proxy.get("/ready").status_code == 200


@pytest.fixture
def running(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> ServiceProcess:
    """The service under gunicorn, its API server behind the proxy; not started yet."""
    return ServiceProcess(write_kubeconfig(tmp_path, server, namespace, url=proxy.url), DEFINITIONS, tmp_path / "log")


def test_calls_that_wait_for_a_silent_api_server_leave_threads_for_the_probe(
    running: ServiceProcess, proxy: FaultProxy
) -> None:
    """What is too much is refused soon, with `Retry-After`, and the liveness probe is answered in time."""
    with running, ThreadPoolExecutor(80) as callers:
        hold = Hold()
        proxy.add(Fault(hold, method="POST", path=r"/jobs$", times=None))
        calls = [callers.submit(running.post, "/job/public") for _ in range(80)]
        hold.wait_held(10)

        began = time.monotonic()
        assert requests.get(f"{running.url}/health", timeout=PROBE_SECONDS).status_code == 200
        assert time.monotonic() - began < PROBE_SECONDS / 2

        refused = [call.result() for call in calls]
        assert {answer.status_code for answer in refused} == {503}
        assert all("Retry-After" in answer.headers for answer in refused)
        assert sum("nothing has been done" in answer.json()["detail"] for answer in refused) >= 80 - 2 * 24
        hold.release()
        assert running.post("/job/public").status_code == 202


def test_clients_that_fall_silent_do_not_hold_the_service(live: ServiceProcess) -> None:
    """Before their request, in its first line, in its body: more than there are threads, and the probe is answered."""
    body = b"POST /job/public HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
    wires = [Wire(live.port).send(beginning) for beginning in [b"", b"P", body] * 24]
    try:
        assert requests.get(f"{live.url}/health", timeout=PROBE_SECONDS).status_code == 200
    finally:
        for wire in wires:
            wire.close()


def test_clients_that_leave_ended_connections_open_do_not_hold_the_service(live: ServiceProcess) -> None:
    """HTTP/1.0 ends a connection with the answer; a client that doesn't hang up waits alone."""
    wires = [Wire(live.port).send(b"GET /health HTTP/1.0\r\n\r\n") for _ in range(15)]
    try:
        for wire in wires:
            assert wire.answer().read() == b"OK\n"
        began = time.monotonic()
        assert requests.get(f"{live.url}/health", timeout=PROBE_SECONDS).status_code == 200
        assert time.monotonic() - began < 1
    finally:
        for wire in wires:
            wire.close()


def test_many_connections_at_once_are_all_served(live: ServiceProcess) -> None:
    """A burst waits its turn; none of it is refused."""
    together = threading.Barrier(60)

    def call() -> int:
        together.wait()
        return live.post("/job/public").status_code

    with ThreadPoolExecutor(60) as callers:
        answers = [callers.submit(call) for _ in range(60)]
    assert [answer.result() for answer in answers] == [202] * 60
