"""Web pages that send requests: pages of other sites are refused, unless the settings name them."""

from pathlib import Path

import pytest
from kubernetes import client

from app.settings import Settings
from tests.http.clients import DEFINITIONS, Caller, MakeCaller, RawClient, check_problem
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess

EVIL = {"Origin": "https://evil.example"}
PORTAL = "https://portal.example:8443"

ROUTES = [
    ("POST", "/job/public"),
    ("POST", "/job/public/path"),
    ("GET", "/job/public"),
    ("DELETE", "/job/public?status=Queued"),
    ("GET", "/job/public/aaaaaaaaaaaa"),
    ("DELETE", "/job/public/aaaaaaaaaaaa"),
    ("GET", "/job/public/aaaaaaaaaaaa/logs"),
    ("GET", "/jobs/status"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
    ("GET", "/unknown"),
    ("OPTIONS", "/job/public"),
]
"""Every route but the probes."""


@pytest.mark.parametrize(
    "headers",
    [EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
    ids=lambda headers: next(iter(headers.values())),
)
def test_page_of_another_site__gets_403_from_every_route_but_the_probes(
    caller: Caller, batch: client.BatchV1Api, namespace: str, headers: dict[str, str]
) -> None:
    for method, path in ROUTES:
        response = caller.call(method, path, headers=headers, data="{}", content_type="text/plain")
        assert "SLIMFAAS_ALLOWED_ORIGINS" in check_problem(response, 403)["detail"], (method, path)
        assert "Access-Control-Allow-Origin" not in response.headers
    assert batch.list_namespaced_job(namespace).items == []
    for path in ("/health", "/ready", "/metrics"):
        assert caller.get(path, headers=headers).status_code == 200


def test_page_of_the_service__and_programs_are_served(caller: Caller) -> None:
    own: list[dict[str, str]] = [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "https://jobs.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ]
    for headers in own:
        assert caller.post("/job/public", headers=headers).status_code == 202
        assert caller.get("/docs", headers=headers).status_code == 200


def test_link_from_another_site__can_be_followed(caller: Caller) -> None:
    """From a wiki or a chat to the page of a run."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert caller.get("/docs", headers=headers).status_code == 200
    assert caller.post("/job/public", headers=headers).status_code == 403


def test_page_behind_a_proxy__is_the_services_own_by_the_trusted_proxys_host(make_caller: MakeCaller) -> None:
    headers = {"Origin": "https://jobs.example", "X-Forwarded-Host": "jobs.example", "X-Forwarded-Proto": "https"}
    assert make_caller().post("/job/public", headers=headers).status_code == 403
    proxies = Settings.from_environment(
        {"SLIMFAAS_JOBS_CONFIGURATION": "{}", "SLIMFAAS_TRUSTED_PROXIES": "203.0.113.7/32"}
    ).trusted_proxies
    behind = make_caller(trusted_proxies=proxies)
    assert behind.post("/job/public", headers=headers).status_code == 202
    assert behind.post("/job/public", headers={**headers, **EVIL}).status_code == 403
    assert ">https://jobs.example</" in behind.get("/docs", headers=headers).text


def test_allowed_page__gets_the_headers_of_cors(make_caller: MakeCaller) -> None:
    portal = make_caller(allowed_origins=("HTTPS://portal.example:8443",))
    headers = {"Origin": PORTAL, "Sec-Fetch-Site": "cross-site"}
    for response, status in (
        (portal.post("/job/public", headers=headers), 202),
        (portal.get("/job/unknown", headers=headers), 404),
        (portal.post("/job/public/..", headers=headers), 400),
    ):
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == PORTAL
        assert {"Location", "Link", "Retry-After"} <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Origin" in response.vary


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://portal.example",
        "https://portal.example:8443.evil.example",
        "http://portal.example:8443",
        "null",
        "*",
        f"{PORTAL}, https://evil.example",
        f"{PORTAL}/",
    ],
)
def test_allowed_page__opens_the_door_to_no_other(make_caller: MakeCaller, origin: str) -> None:
    caller = make_caller(allowed_origins=(PORTAL,))
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for response in (
        caller.post("/job/public", headers={"Origin": origin}),
        caller.call("OPTIONS", "/job/public", headers=preflight),
    ):
        check_problem(response, 403)
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.vary


def test_preflight__tells_what_the_path_permits(make_caller: MakeCaller) -> None:
    portal = make_caller(allowed_origins=(PORTAL,))
    preflight = {
        "Origin": PORTAL,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "idempotency-key",
    }
    response = portal.call("OPTIONS", "/job/private", headers=preflight)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == PORTAL
    assert response.headers["Access-Control-Allow-Methods"] == "DELETE, GET, HEAD, POST"
    assert {"Authorization", "Idempotency-Key"} <= set(response.headers["Access-Control-Allow-Headers"].split(", "))
    check_problem(portal.call("OPTIONS", "/unknown", headers=preflight), 404)
    check_problem(portal.call("OPTIONS", "/job/public", headers={"Origin": PORTAL}), 405)
    check_problem(portal.call("OPTIONS", "/job/public"), 405)


def test_host__is_checked_where_the_service_listens_on_loopback(
    server: Server, session_namespace: str, tmp_path: Path
) -> None:
    """A DNS name of another site may point at this machine; the page's requests are of the same origin then."""
    kubeconfig = write_kubeconfig(tmp_path, server, session_namespace)
    names = {"SLIMFAAS_ALLOWED_HOSTS": "jobs.example", "SLIMFAAS_DISPATCHER": "off"}
    statuses: dict[str, int] = {}
    with ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", address="127.0.0.1", **names) as service:
        for host in (
            "evil.example",
            "localhost",
            f"127.0.0.1:{service.port}",
            "[::1]",
            "jobs.example",
            "a.localhost.b",
        ):
            head = f"HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            with RawClient(service.port) as connection:
                connection.send(f"POST /job/public {head}Content-Length: 0\r\n\r\n".encode())
                statuses[host] = connection.answer().status
            with RawClient(service.port) as connection:
                assert connection.send(f"GET /health {head}\r\n".encode()).answer().status == 200
    assert {host for host, status in statuses.items() if status == 403} == {"evil.example", "a.localhost.b"}
    assert set(statuses.values()) == {202, 403}
