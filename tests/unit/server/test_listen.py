"""Servers listen for IPv4 and IPv6."""

import socket
from http.client import HTTPConnection
from typing import Any

import pytest

from app.server.listen import every_address, listen, plain_address
from app.server.probe_server import ProbeServer

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        (("::ffff:10.0.0.1", 40000, 0, 0), ("10.0.0.1", 40000)),
        (("::FFFF:10.0.0.1", 40000, 0, 0), ("10.0.0.1", 40000)),
        (("::1", 40000, 0, 0), ("::1", 40000, 0, 0)),
        (("10.0.0.1", 40000), ("10.0.0.1", 40000)),
        (("fd00::ffff:a00:1", 40000, 0, 0), ("fd00::ffff:a00:1", 40000, 0, 0)),
        ("/run/socket", "/run/socket"),
        ("", ""),
    ],
)
def test_plain_address__turns_mapped_addresses_alone_into_ipv4(address: Any, plain: Any) -> None:
    assert plain_address(address) == plain


@needs_ipv6
def test_every_address__is_one_socket_for_both_families_or_two() -> None:
    assert every_address(5000) in (["[::]:5000"], ["0.0.0.0:5000", "[::]:5000"])


def test_every_address__without_ipv6_is_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `ipv6.disable=1` on the kernel's command line."""

    def refuse(*_: Any) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr("app.server.listen.socket.socket", refuse)
    assert every_address(5000) == ["0.0.0.0:5000"]


def respond(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REMOTE_ADDR"].encode()]


@needs_ipv6
def test_probe_server__serves_both_families() -> None:
    probes = ProbeServer(respond, listen(0))
    try:
        for host in ("127.0.0.1", "::1"):
            connection = HTTPConnection(host, probes.port)
            connection.request("GET", "/")
            assert connection.getresponse().read().decode().endswith(host)
            connection.close()
    finally:
        probes.close()
