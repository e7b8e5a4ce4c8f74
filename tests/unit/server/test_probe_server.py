"""`app.server.probe_server`: limits on what clients may send and hold."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.server import probe_server
from app.server.listen import listen
from app.server.probe_server import ProbePaths, ProbeServer
from tests.http.clients import RawClient
from tests.support.threads import no_threads
from tests.support.waiting import DEADLINE_SECONDS


def respond_ok(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"OK"]


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    probes = ProbeServer(respond_ok, listen(0))
    yield probes
    probes.close()


def test_probe_server__reads_a_head_of_15_kb(server: ProbeServer) -> None:
    """Proxies and meshes add headers."""
    with RawClient(server.port) as wire:
        wire.send(b"GET / HTTP/1.1\r\n", b"a: " + b"x" * 8000 + b"\r\n", b"b: " + b"x" * 7000 + b"\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 90 + b"c: " + b"x" * 16_384,
        b"GET / HTTP/1.1\r\n" + (b"a: " + b"x" * 2000 + b"\r\n") * 9,
        b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 16_384 + b"\r\n\r\n",
    ],
    ids=["the last line", "many lines", "one line"],
)
def test_probe_server__refuses_a_larger_head_before_its_end(server: ProbeServer, sent: bytes) -> None:
    with RawClient(server.port) as wire:
        response = wire.send(sent).answer()
        assert response.status == 431
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["Server"] == "slimfaas-jobs"
        assert json.loads(response.read())["status"] == 431


def test_probe_server__refuses_an_endless_request_line(server: ProbeServer) -> None:
    with RawClient(server.port) as wire:
        wire.send(b"GET /" + b"x" * 16_384)
        assert wire.receive(1) == b"{"  # http.server takes it for HTTP/0.9, whose responses have no head


def test_probe_server__replaces_the_oldest_connection_when_there_are_too_many(
    server: ProbeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else silent clients would keep the kubelet out, which would then kill a healthy process."""
    monkeypatch.setattr(probe_server, "_CLOSE_SECONDS", DEADLINE_SECONDS)
    monkeypatch.setattr(probe_server._Handler, "timeout", DEADLINE_SECONDS)
    wires = [RawClient(server.port).send(b"GET / HT") for _ in range(8)]
    try:
        for _ in range(2):
            with RawClient(server.port) as probe:
                assert probe.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 200
        assert wires[0].hung_up()
        assert wires[-1].send(b"TP/1.1\r\n\r\n").answer().status == 200
    finally:
        for wire in wires:
            wire.close()


def test_probe_server__serves_again_after_connections_that_found_no_thread(server: ProbeServer) -> None:
    for _ in range(9):
        with no_threads(), RawClient(server.port) as wire:
            assert wire.hung_up()
    with RawClient(server.port) as probe:
        assert probe.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 200


def test_probe_server__does_not_repeat_a_malformed_request(server: ProbeServer) -> None:
    """It may contain a token."""
    with RawClient(server.port) as wire:
        received = wire.send(b"GET / HTTP/1.1 <evil>\r\n\r\n").receive(10_000)
    assert json.loads(received) == {"type": "about:blank", "title": "Bad Request", "status": 400}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health", 200), ("/ready?a=b", 200), ("/metrics", 404), ("/job/a", 404), ("/health/", 404)],
)
def test_probe_paths__serve_the_probes_and_nothing_else(path: str, status: int) -> None:
    probes = ProbeServer(ProbePaths(respond_ok), listen(0))
    try:
        with RawClient(probes.port) as wire:
            response = wire.send(f"GET {path} HTTP/1.1\r\n\r\n".encode()).answer()
            assert response.status == status
            if status == 404:
                assert json.loads(response.read())["detail"] == "this port serves /health and /ready only"
    finally:
        probes.close()


def test_probe_server__shares_its_listener_with_another() -> None:
    """As the workers of one gunicorn do. None may wait for a connection that another one has accepted."""
    listener = listen(0)
    listener.setblocking(False)
    both = [ProbeServer(respond_ok, listener) for _ in range(2)]
    try:
        for _ in range(20):
            with RawClient(both[0].port) as wire:
                assert wire.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 200
    finally:
        for one in both:
            one.close()
