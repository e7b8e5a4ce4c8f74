"""The probes: `/health` asks no other service, `/ready` asks until runs could be read once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from app.common.concurrency_limiter import MAX_CALLS
from app.kube.call_timeouts import READ_SECONDS
from tests.http.clients import DEFINITIONS, Caller, RawClient, check_problem
from tests.support.faults import Fault, FaultProxy, Hold
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess

PROBE_SECONDS = 8.0
"""`timeoutSeconds` of the manifest's probes."""


def test_health__is_ok_during_an_api_server_outage(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """An outage of the API server must not make Kubernetes restart pods."""
    proxy.refuse_connections()
    response = caller_by_proxy.get("/health")
    assert (response.status_code, response.text, response.mimetype) == (200, "OK\n", "text/plain")
    assert proxy.requests == []


def test_ready__stays_ready_after_runs_could_be_read_once(caller_by_proxy: Caller, proxy: FaultProxy) -> None:
    """In a later outage the pod must stay reachable, so that callers get an explanation."""
    hold = proxy.add(Fault(Hold(), method="GET"))
    proxy.refuse_connections()
    response = caller_by_proxy.get("/ready")
    assert "stored" not in check_problem(response, 503)["detail"]
    assert "Retry-After" in response.headers

    proxy.remove(hold)
    proxy.heal()
    ready = caller_by_proxy.get("/ready").json
    assert ready is not None
    assert ready.pop("Configuration").keys() == {"Status", "LoadTimestamp", "Faults"}
    assert ready.pop("CronJobs") == {"Status": "Current", "Definitions": 0, "Refused": 0}
    assert ready == {"Status": "Ready", "Dispatcher": "following", "RefusedTemplates": 0, "IgnoredKueueGates": 0}

    proxy.refuse_connections()
    assert caller_by_proxy.get("/ready").status_code == 200


@pytest.fixture
def running(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> ServiceProcess:
    """Return the service under gunicorn, not started yet, whose API server is behind the proxy."""
    return ServiceProcess(write_kubeconfig(tmp_path, server, namespace, url=proxy.url), DEFINITIONS, tmp_path / "log")


@pytest.mark.slow
def test_health__responds_while_requests_wait_for_a_silent_api_server(
    running: ServiceProcess, proxy: FaultProxy
) -> None:
    """Requests beyond the limit wait for their turn, and none of them waits for longer than a client would."""
    with running, ThreadPoolExecutor(80) as pool:
        hold = Hold()
        proxy.add(Fault(hold, method="POST", path=r"/jobs$", times=None))
        calls = [pool.submit(running.post, "/job/public") for _ in range(80)]
        hold.wait_held(count=MAX_CALLS)

        assert requests.get(f"{running.url}/health", timeout=PROBE_SECONDS).status_code == 200

        refused = [call.result() for call in calls]
        assert {response.status_code for response in refused} == {503}
        assert all("Retry-After" in response.headers for response in refused)
        hold.release()
        assert running.post("/job/public").status_code == 202


def test_health__responds_while_more_clients_than_threads_are_silent(live: ServiceProcess) -> None:
    """The clients stop before the request, in its first line, and in its body."""
    body = b"POST /job/public HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
    connections = [RawClient(live.port).send(beginning) for beginning in [b"", b"P", body] * 24]
    try:
        assert requests.get(f"{live.url}/health", timeout=PROBE_SECONDS).status_code == 200
    finally:
        for connection in connections:
            connection.close()


def test_health__responds_while_clients_keep_finished_connections_open(live: ServiceProcess) -> None:
    """HTTP/1.0 ends a connection with the response, but these clients do not close it."""
    connections = [RawClient(live.port).send(b"GET /health HTTP/1.0\r\n\r\n") for _ in range(15)]
    try:
        for connection in connections:
            assert connection.answer().read() == b"OK\n"
        assert requests.get(f"{live.url}/health", timeout=PROBE_SECONDS).status_code == 200
    finally:
        for connection in connections:
            connection.close()


def test_post_job__accepts_sixty_connections_at_once(live: ServiceProcess) -> None:
    """All are accepted while the API server answers in time; none is refused before it has waited for that."""
    together = threading.Barrier(60)

    def call() -> tuple[int, float]:
        together.wait()
        since = time.monotonic()
        return live.post("/job/public").status_code, time.monotonic() - since

    with ThreadPoolExecutor(60) as pool:
        responses = [future.result() for future in [pool.submit(call) for _ in range(60)]]
    assert {status for status, seconds in responses if seconds < READ_SECONDS} <= {202}
    assert {status for status, _ in responses} <= {202, 503}
