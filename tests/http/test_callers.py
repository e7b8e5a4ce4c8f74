"""Private definitions answer callers of trusted networks, directly connected, and nobody else."""

import json
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import DEFINITIONS, Caller, check_problem
from tests.support.servers import Server, write_kubeconfig

Call = Callable[..., TestResponse]


@pytest.fixture
def call_from(server: Server, namespace: str, tmp_path: Path) -> Call:
    """Start a run of the private definition from an address; 10.1.0.0/16 and fd00::/8 are trusted."""
    settings = Settings(
        configuration=json.dumps(DEFINITIONS),
        kubeconfig=str(write_kubeconfig(tmp_path, server, namespace)),
        trusted_networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")),
    )
    client: FlaskClient = create_app(settings).test_client()

    def call(address: str, path: str = "/job/private", **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(path, headers=named, environ_base={"REMOTE_ADDR": address})

    return call


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("rest", ["/aaaaaaaaaaaa", "/no-id"])
def test_a_private_definition_answers_strangers_403_and_nothing_more(caller: Caller, method: str, rest: str) -> None:
    """Whether a run exists, or the body is right, is not theirs to know."""
    answer = caller.call(method, f"/job/private{rest}", data=b"not JSON")
    assert answer.status_code == 403
    if method != "HEAD":
        assert check_problem(answer)["detail"] == "this job is private"


def test_without_trusted_networks_nobody_is_trusted(caller: Caller) -> None:
    """Not even the machine itself: a proxy on it would speak for the whole world."""
    answer = caller.client.post("/job/private", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    check_problem(answer, 403)


@pytest.mark.parametrize("address", ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00::1"])
def test_a_trusted_network_may_call_a_private_definition(call_from: Call, address: str) -> None:
    """IPv4 addresses count also where a dual-stack socket writes them as IPv6."""
    assert call_from(address).status_code == 202


@pytest.mark.parametrize("address", ["10.2.0.1", "::ffff:10.2.0.1", "fe80::1", "", "a socket's path"])
def test_any_other_address_may_not(call_from: Call, address: str) -> None:
    """What is no address is nobody's."""
    check_problem(call_from(address), 403)


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "X_Real_IP", "x_forwarded_for"])
@pytest.mark.parametrize("value", ["10.1.2.3", "for=10.1.2.3", ""])
def test_a_request_with_a_forwarding_header_comes_from_outside(call_from: Call, header: str, value: str) -> None:
    """An ingress inside a trusted network opens no door, whatever it writes into the header."""
    check_problem(call_from("10.1.2.3", **{header: value}), 403)


def test_a_forwarding_header_lends_nobody_an_address(call_from: Call) -> None:
    """A stranger who claims a trusted address stays a stranger."""
    check_problem(call_from("203.0.113.7", X_Forwarded_For="10.1.2.3"), 403)


def test_a_public_definition_answers_anybody(call_from: Call) -> None:
    """Forwarded or not."""
    assert call_from("203.0.113.7", "/job/public", X_Forwarded_For="1.2.3.4").status_code == 202
