"""Private definitions accept directly connected callers of trusted networks only."""

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
    """Start a run of the private definition from an address. 10.1.0.0/16 and fd00::/8 are trusted."""
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
def test_private_definition__gives_untrusted_callers_only_403(caller: Caller, method: str, rest: str) -> None:
    """The response does not depend on the run or the body."""
    response = caller.call(method, f"/job/private{rest}", data=b"not JSON")
    assert response.status_code == 403
    if method != "HEAD":
        assert check_problem(response)["detail"] == "this job is private"


def test_private_definition__trusts_nobody_by_default(caller: Caller) -> None:
    """Not even localhost: a proxy there would forward requests from everywhere."""
    response = caller.client.post("/job/private", environ_base={"REMOTE_ADDR": "127.0.0.1"})
    check_problem(response, 403)


@pytest.mark.parametrize("address", ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd00::1"])
def test_private_definition__accepts_callers_of_a_trusted_network(call_from: Call, address: str) -> None:
    """Also IPv4 addresses in the form of a dual-stack socket."""
    assert call_from(address).status_code == 202


@pytest.mark.parametrize("address", ["10.2.0.1", "::ffff:10.2.0.1", "fe80::1", "", "a socket's path"])
def test_private_definition__refuses_other_addresses(call_from: Call, address: str) -> None:
    check_problem(call_from(address), 403)


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "X_Real_IP", "x_forwarded_for"])
@pytest.mark.parametrize("value", ["10.1.2.3", "for=10.1.2.3", ""])
def test_private_definition__refuses_forwarded_requests(call_from: Call, header: str, value: str) -> None:
    """An ingress in a trusted network must not make its clients trusted."""
    check_problem(call_from("10.1.2.3", **{header: value}), 403)


def test_private_definition__ignores_a_forged_forwarding_header(call_from: Call) -> None:
    check_problem(call_from("203.0.113.7", X_Forwarded_For="10.1.2.3"), 403)


def test_public_definition__accepts_every_caller(call_from: Call) -> None:
    assert call_from("203.0.113.7", "/job/public", X_Forwarded_For="1.2.3.4").status_code == 202
