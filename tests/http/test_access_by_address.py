"""Private definitions accept directly connected callers of trusted networks only."""

import json
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from kubernetes import client
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
    web: FlaskClient = create_app(settings).test_client()

    def call(address: str, path: str = "/job/private", **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.post(path, headers=named, environ_base={"REMOTE_ADDR": address})

    return call


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("rest", ["/aaaaaaaaaaaa", "/no-id"])
def test_private_definition__gives_untrusted_callers_only_403(caller: Caller, method: str, rest: str) -> None:
    """The response does not depend on the run or the body."""
    response = caller.call(method, f"/job/private{rest}", data=b"not JSON")
    assert response.status_code == 403
    if method != "HEAD":
        assert "is private, and the caller is not trusted; call it" in check_problem(response)["detail"]


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


def create_pod(core: client.CoreV1Api, namespace: str, name: str, *addresses: str, **annotations: str) -> None:
    """Create a pod that runs, as far as the API server knows. Its node does not exist, so no kubelet changes it."""
    pod = {
        "metadata": {"name": name, "annotations": {f"SlimFaas/{key}": value for key, value in annotations.items()}},
        "spec": {"nodeName": "nowhere", "containers": [{"name": "main", "image": "busybox:1"}]},
    }
    core.create_namespaced_pod(namespace, pod)
    status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    core.patch_namespaced_pod_status(name, namespace, {"status": status})


def test_private_definition__accepts_the_second_addresses_of_pods(
    server: Server, namespace: str, call_from: Call
) -> None:
    """The API server selects pods by their first address alone."""
    core = client.CoreV1Api(server.admin)
    create_pod(core, namespace, "web", "192.0.2.7", "2001:db8::7")
    create_pod(core, namespace, "other", "192.0.2.8", "2001:db8::8", DefaultTrust="Untrusted")
    assert call_from("2001:0db8:0:0::7").status_code == 202
    assert call_from("192.0.2.7").status_code == 202
    check_problem(call_from("2001:db8::8"), 403)
    check_problem(call_from("2001:db8::9"), 403)
