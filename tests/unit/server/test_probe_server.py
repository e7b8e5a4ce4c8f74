"""The small server of a process that only dispatches, to clients that want no answer but its memory."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.server.probe_server import ProbeServer
from tests.http.clients import Wire
from tests.support.threads import one_thread


def answer_ok(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"OK"]


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    probes = ProbeServer(answer_ok, 0)
    yield probes
    probes.close()


def test_a_head_of_some_size_is_read(server: ProbeServer) -> None:
    """Proxies and meshes add to it."""
    with Wire(server.port) as wire:
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
def test_a_larger_head_is_refused_before_its_end(server: ProbeServer, sent: bytes) -> None:
    """The library alone takes 100 lines of 64 KiB, several times over, from each of eight clients."""
    with Wire(server.port) as wire:
        answer = wire.send(sent).answer()
        assert answer.status == 431
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Server"] == "slimfaas-jobs"
        assert json.loads(answer.read())["status"] == 431


def test_who_holds_all_places_keeps_nobody_out(server: ProbeServer) -> None:
    """The kubelet would take a process for hung that is well; the oldest of those who say nothing has to go."""
    wires = [Wire(server.port).send(b"GET / HT") for _ in range(8)]
    try:
        for _ in range(2):
            with Wire(server.port) as probe:
                assert probe.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 200
        assert wires[0].hung_up()
        assert wires[-1].send(b"TP/1.1\r\n\r\n").answer().status == 200
    finally:
        for wire in wires:
            wire.close()


def test_a_connection_that_finds_no_thread_for_its_bound_takes_no_place(server: ProbeServer) -> None:
    """However many there are: the kubelet must find one again as soon as there are threads."""
    for _ in range(9):
        with one_thread(), Wire(server.port) as wire:
            assert wire.hung_up()
    with Wire(server.port) as probe:
        assert probe.send(b"GET / HTTP/1.1\r\n\r\n").answer().status == 200


def test_a_request_line_without_an_end_is_refused(server: ProbeServer) -> None:
    """Its beginning counts against the same bound."""
    with Wire(server.port) as wire:
        wire.send(b"GET /" + b"x" * 16_384)
        assert wire.receive(1) == b"{"  # of the oldest HTTP, whose answers have no head


def test_what_is_refused_is_not_repeated(server: ProbeServer) -> None:
    """What isn't HTTP may hold anything."""
    with Wire(server.port) as wire:
        told = wire.send(b"GET / HTTP/1.1 <evil>\r\n\r\n").receive(10_000)
    assert json.loads(told) == {"type": "about:blank", "title": "Bad Request", "status": 400}
