"""The service in a control group of 76 MiB, the limit of its manifest, while strangers do their worst."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.support.cgroups import ControlGroup, NoControlGroupError, control_group
from tests.support.crowds import (
    post_all,
    run_crowd,
    send_faulty_bodies,
    send_small_bodies,
    store_and_read_large_runs,
    unfinished_bodies,
)
from tests.support.metrics import Scrape
from tests.support.open_files import allow_open_files
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

pytestmark = pytest.mark.slow

MEMORY_BYTES = 76 * 2**20
CORES = 2.0
LONG_REQUESTS = 50
STREAMS = 4 * LONG_REQUESTS // 3 + 1
"""Strangers get three quarters of the places."""
DEFINITIONS = {"Configurations": {"public": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}}}


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    """Return a control group with the memory of the pod."""
    try:
        with control_group(MEMORY_BYTES, CORES) as made:
            yield made
    except NoControlGroupError as error:
        pytest.skip(str(error))


@pytest.fixture
def probe_port() -> int:
    """Return a port for probes."""
    return find_free_port()


@pytest.fixture
def service(
    server: Server, namespace: str, tmp_path: Path, group: ControlGroup, probe_port: int
) -> Iterator[ServiceProcess]:
    """Run the service in the group."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    limits = {
        "SLIMFAAS_MAX_QUEUED": "20000",
        "SLIMFAAS_MAX_STREAMS": str(STREAMS),
        "SLIMFAAS_PROBE_PORT": str(probe_port),
    }
    with ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", prefix=group.prefix(), **limits) as running:
        yield running


def test_service__leaves_room_when_it_is_idle(service: ServiceProcess, group: ControlGroup) -> None:
    """What callers need comes on top. Without the Kubernetes client it is about 49 MiB, with it 61."""
    assert service.post("/job/public").status_code == 202
    assert group.anonymous_mib() < 56


def test_service__survives_many_long_lists_of_dependencies(service: ServiceProcess, group: ControlGroup) -> None:
    """Some are accepted. What would take too much memory is refused, also while the queue has many places left."""
    longest = [{"DependsOn": [f"w{number}-{index}-".ljust(250, "a") for index in range(32)]} for number in range(20)]
    assert post_all(service, longest) == {422: 20}
    lists = [{"DependsOn": [f"w{number}x{index}".ljust(32, "a") for index in range(32)]} for number in range(1000)]
    statuses = post_all(service, lists)
    assert statuses.keys() == {202, 429}
    assert statuses[202] >= 200
    refused = service.post("/job/public", {"DependsOn": [f"x{index}".ljust(32, "a") for index in range(32)]})
    assert (refused.status_code, "DependsOn" in refused.json()["detail"]) == (429, True)
    assert service.post("/job/public").status_code == 202
    for limit in (500, 100, 10):
        assert service.get(f"/job/public?limit={limit}").status_code == 200
    assert group.kills() == 0


def test_service__survives_lists_of_runs_with_long_arguments(service: ServiceProcess, group: ControlGroup) -> None:
    """Ten clients at a time, each with a limit of its own, so that they share nothing."""
    assert service.post("/job/public", {"Args": ["$" * 65_000]}).status_code == 422
    bodies = [{"Args": ["$" * 48_000]}] * 10 + [{"Args": ["a" * 65_000]}] * 10
    assert post_all(service, bodies) == {202: 20}

    def read(limit: int) -> int:
        return service.get(f"/job/public?limit={limit}").status_code

    with ThreadPoolExecutor(10) as callers:
        for _ in range(3):
            assert set(callers.map(read, range(100, 110))) == {200}
    assert group.kills() == 0


def test_service__survives_a_crowd_that_asks_for_its_page_first(service: ServiceProcess, group: ControlGroup) -> None:
    """The first request builds the page. If every thread built it, the pod would be killed, and begin anew."""

    def read(path: str) -> int:
        return service.get(path).status_code

    with ThreadPoolExecutor(60) as callers:
        assert set(callers.map(read, ["/docs"] * 60 + ["/openapi.json"] * 60)) == {200}
    assert group.kills() == 0


def test_service__survives_a_crowd_with_thousands_of_unknown_fields(
    service: ServiceProcess, group: ControlGroup
) -> None:
    """Each body has as many faults as there is room for."""
    run_crowd(60, send_faulty_bodies(service), times=3)
    assert group.kills() == 0


def test_service__survives_a_crowd_that_stores_and_reads_large_runs(
    service: ServiceProcess, group: ControlGroup
) -> None:
    run_crowd(24, store_and_read_large_runs(service), times=6)
    assert group.kills() == 0


def test_service__survives_a_thousand_unfinished_bodies(service: ServiceProcess, group: ControlGroup) -> None:
    """More connections than it accepts. The probes succeed meanwhile."""
    with unfinished_bodies(service) as sent:
        assert sent.wait(DEADLINE_SECONDS)
        for path in ("/health", "/ready"):
            assert service.get(path).status_code == 200
        assert group.kills() == 0
    assert service.post("/job/public").status_code == 202


def test_service__survives_kept_connections_after_large_heads(service: ServiceProcess, group: ControlGroup) -> None:
    """Each has sent one request with 31 KiB of header fields, and stays open."""
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 7900) for number in range(4))
    allow_open_files(700)
    clients: list[socket.socket] = []
    try:
        for _ in range(500):
            client = socket.create_connection(("127.0.0.1", service.port), DEADLINE_SECONDS)
            clients.append(client)
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        assert group.anonymous_mib() < 70
        assert group.kills() == 0
    finally:
        for client in clients:
            client.close()


def probe(port: int) -> int:
    """Return the status of a probe on the port for probes."""
    return requests.get(f"http://127.0.0.1:{port}/health", timeout=DEADLINE_SECONDS).status_code


def test_service__survives_all_crowds_at_once(service: ServiceProcess, group: ControlGroup, probe_port: int) -> None:
    """Large bodies, faulty bodies and unfinished bodies; the probes are answered all the while."""

    def call_both(session: requests.Session) -> None:
        for call in (send_faulty_bodies(service), store_and_read_large_runs(service)):
            with suppress(requests.ConnectionError):  # the service closes connections that are silent
                call(session)

    with ThreadPoolExecutor(1) as crowds, unfinished_bodies(service) as sent:
        assert sent.wait(DEADLINE_SECONDS)
        crowd = crowds.submit(run_crowd, 60, call_both)
        while not crowd.done():
            assert probe(probe_port) == 200
            time.sleep(0.2)
        crowd.result()
        assert group.kills() == 0
    assert service.post("/job/public").status_code == 202


def test_service__survives_50_long_requests_and_16_callers(
    service: ServiceProcess, group: ControlGroup, probe_port: int
) -> None:
    """Each holds a thread, and a connection to the API server."""
    run = service.post("/job/public").headers["Location"]

    def wait(session: requests.Session) -> None:
        headers = {"Prefer": "wait=300"}
        response = session.get(service.url + run, headers=headers, timeout=4 * DEADLINE_SECONDS)
        assert response.status_code in (200, 404)

    def count() -> float:
        return Scrape(service.get("/metrics").text).value("streams")

    with ThreadPoolExecutor(1) as crowds:
        waits = crowds.submit(run_crowd, LONG_REQUESTS, wait)
        until(lambda: count() == LONG_REQUESTS)
        run_crowd(16, send_small_bodies(service), times=60)
        assert (count(), probe(probe_port), group.kills()) == (LONG_REQUESTS, 200, 0)
        assert service.delete(run).status_code == 200
        waits.result()


def test_service__survives_10000_queued_runs_with_load(
    service: ServiceProcess, group: ControlGroup, probe_port: int
) -> None:
    """The dispatcher holds all of them, and each list reads all of them."""
    run_crowd(16, send_small_bodies(service), times=625)
    with ThreadPoolExecutor(1) as crowds:
        crowd = crowds.submit(run_crowd, 16, send_small_bodies(service), times=20)
        assert [service.get(f"/job/public?limit={limit}").status_code for limit in (500, 100)] == [200, 200]
        crowd.result()
    assert (probe(probe_port), group.kills()) == (200, 0)
