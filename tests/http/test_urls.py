"""Paths, queries and methods: a run gets path and query exactly as sent."""

import json
from typing import Any

import pytest
from kubernetes import client

from app.common.http_limits import PARSE_ERRORS
from tests.http.clients import Caller, RawClient, check_document, check_problem
from tests.support.selection import slow
from tests.support.service import ServiceProcess


def environment(batch: client.BatchV1Api, namespace: str) -> dict[str, Any]:
    (job,) = batch.list_namespaced_job(namespace).items
    return {variable.name: variable.value for variable in job.spec.template.spec.containers[0].env}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/job/public", None),
        ("/job/public/", None),
        ("/job/public/a/b", "a/b"),
        ("/job/public//a//b/", "/a//b/"),
        ("/job/public/a..b/...", "a..b/..."),
        ("/job/public/a%20b%25", "a b%"),
        ("/job/public/%0Aa%0A/b%0D%0A", "\na\n/b\r\n"),
        ("/job/public/a+b;c=d", "a+b;c=d"),
        ("/job/public/;/a.", ";/a."),
        ("/job/public/%F0%9F%98%80", "\U0001f600"),
        ("/job/public/%EF%BF%BD", "\ufffd"),
        ("/job/public/%zz", "%zz"),
        ("/job/public/aaaaaaaaaaaa", "aaaaaaaaaaaa"),
    ],
)
def test_path__reaches_the_run_decoded_but_not_normalized(
    caller: Caller, batch: client.BatchV1Api, namespace: str, target: str, path: str | None
) -> None:
    response = caller.post(target)

    assert response.status_code == 202
    assert response.headers["Location"] == f"/job/public/{response.json['Id']}"
    assert environment(batch, namespace).get("SLIMFAAS_JOB_PATH") == path


def test_name__in_capitals_is_the_same_definition(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    response = caller.post("/job/PuBlic")
    run_id = response.json["Id"]
    assert response.headers["Location"] == f"/job/public/{run_id}"
    assert response.json["Name"] == f"public-slimfaas-job-{run_id}"
    assert caller.get(f"/job/Public/{run_id}").json["Id"] == run_id
    assert caller.call("DELETE", f"/job/PUBLIC/{run_id}").status_code == 200
    check_problem(caller.post("/job/Private"), 403)
    assert caller.get("/job/Public").json == caller.get("/job/public").json


@pytest.mark.parametrize("query", ["a=b&a=c", "%00%2F%zz", "a+b", "?", "x=%F0%9F%98%80"])
def test_query__reaches_the_run_undecoded(caller: Caller, batch: client.BatchV1Api, namespace: str, query: str) -> None:
    assert caller.post(f"/job/public?{query}").status_code == 202
    assert environment(batch, namespace)["SLIMFAAS_JOB_QUERY"] == query


def test_query__that_is_empty_sets_no_variable(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    assert caller.post("/job/public?").status_code == 202
    assert {"SLIMFAAS_JOB_PATH", "SLIMFAAS_JOB_QUERY"}.isdisjoint(environment(batch, namespace))


def test_target__that_proxies_read_in_another_way_gets_400(live: ServiceProcess) -> None:
    """`tests/unit/api/test_request_target.py` has the spellings. The connection shows the target as it was sent."""
    targets = [
        "/job/public/../private",
        "/job/public/%2E%2e/private",
        "/job/public/a%2Fb",
        "/job/public?a#b",
        "/health/..",
    ]
    for target in targets:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            with RawClient(live.port) as connection:
                response = connection.send_request(method, target).answer()
                assert response.status == 400, (method, target)
                check_document(json.loads(response.read()), 400)


def test_target__with_another_host_than_the_header_gets_400(live: ServiceProcess) -> None:
    statuses = {
        "http://service/job/nothing": 404,
        "http://service": 200,
        "http://other/docs": 400,
        "x://service/docs": 400,
    }
    for target, status in statuses.items():
        with RawClient(live.port) as connection:
            assert connection.send_request("GET", target).answer().status == status


def test_target__that_begins_with_two_slashes_names_no_host(live: ServiceProcess) -> None:
    for target in ("//evil.example/", "//evil.example", "///evil.example/docs/", "//docs", "//job/public", "///health"):
        with RawClient(live.port) as connection:
            response = connection.send_request("GET", target).answer()
            assert (response.status, response.headers["Location"]) == (404, None)


@pytest.mark.parametrize(
    "target",
    [
        "/job",
        "/job/",
        "/job//public",
        "/JOB/public",
        "/job/public.",
        "/job/public;a=b",
        "/job/" + "a" * 3000,
        "/jobs/public",
        "/health/",
        "/static/app.py",
    ],
)
def test_url__that_is_unknown_gets_404(caller: Caller, target: str) -> None:
    check_problem(caller.post(target), 404)


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/job/public", {"DELETE", "GET", "HEAD", "POST"}),
        ("/job/public/aaaaaaaaaaaa", {"DELETE", "GET", "HEAD", "POST"}),
        ("/job/public/aaaaaaaaaaaa/logs", {"GET", "HEAD", "POST"}),
        ("/health", {"GET", "HEAD"}),
        ("/ready", {"GET", "HEAD"}),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "PATCH", "QUERY", "MADE-UP"])
def test_method__that_is_not_allowed_gets_405_with_those_that_are(
    caller: Caller, method: str, target: str, allowed: set[str]
) -> None:
    """Also OPTIONS and TRACE, which HTTP defines but this service does not offer."""
    response = caller.call(method, target)
    check_problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_headers__do_not_override_method_host_or_prefix(caller: Caller) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Forwarded-Prefix": "/x", "X-Forwarded-Host": "evil.example"}
    response = caller.post("/job/public", headers=headers, base_url="http://evil.example")
    assert response.status_code == 202
    assert "evil" not in response.headers["Location"]


def test_head__is_get_without_a_body(live: ServiceProcess) -> None:
    """Also for errors."""
    for target, status in {"/health": 200, "/job/public/aaaaaaaaaaaa": 404}.items():
        with RawClient(live.port) as connection:
            response = connection.send(f"HEAD {target} HTTP/1.0\r\n\r\n".encode()).answer("HEAD")
            assert (response.status, response.read()) == (status, b"")
            assert connection.hung_up()


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"nonsense\r\n\r\n", id="no request line"),
        pytest.param(b"POST /job/public HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(
            b"POST /job/public HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            b"POST /job/public HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            id="two lengths",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            b"POST /job/public HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            id="an unknown coding",
            marks=pytest.mark.slow,
        ),
        pytest.param(b"POST /job/public\xff HTTP/1.1\r\n\r\n", id="a byte that no URL has"),
        pytest.param(b"POST /job/" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", id="a line too long"),
        pytest.param(b"POST /job/public HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", id="too many headers"),
        pytest.param(b"POST /job/public HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
    ],
)
def test_malformed_request__is_refused_and_its_connection_closed(live: ServiceProcess, request_bytes: bytes) -> None:
    """Another server might parse the rest differently. The problem document repeats nothing of the request."""
    with RawClient(live.port) as connection:
        response = connection.send(request_bytes).answer()
        assert response.status in (400, 414, 431, 501)
        assert response.getheader("Content-Type") == "application/problem+json"
        document = json.loads(response.read())
        check_document(document, response.status)
        assert document["detail"] == PARSE_ERRORS[response.status].detail
        assert connection.hung_up()


def head_of(fields: int, length: int) -> bytes:
    """Return a request with this number of header fields of this length."""
    return b"GET /health HTTP/1.1\r\n" + (b"A: " + b"b" * (length - 5) + b"\r\n") * fields + b"\r\n"


@pytest.mark.parametrize(
    ("fields", "length", "status"),
    [(1, 8000, 200), (1, 8200, 431), (64, 400, 200), (65, 10, 431), (4, 8000, 200), (8, 8000, 431), (63, 8000, 431)],
)
def test_request_head__is_limited_in_fields_and_bytes(
    live: ServiceProcess, fields: int, length: int, status: int
) -> None:
    """Many connections must not fill the memory with incomplete requests."""
    with RawClient(live.port) as connection:
        assert connection.send(head_of(fields, length)).answer().status == status


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (b"POST /job/public HTTP/1.1\r\nAuthorization Bearer hush\r\n\r\n", "Invalid HTTP Header"),
        (b"POST /job/public HTTP/1.1\r\nAuthorization : Bearer hush\r\n\r\n", "Invalid HTTP header name"),
        *slow((b"POST /job/public HTTP/1.1\r\nTransfer-Encoding: hush\r\n\r\n", "Unsupported transfer coding")),
        (b"hush\r\n\r\n", "Invalid HTTP request line"),
        (b"GET /?hush HTTP/1.1 hush\r\n\r\n", "Invalid HTTP Version"),
        (b"hush(hush / HTTP/1.1\r\n\r\n", "Invalid HTTP method"),
        (b"GET /" + b"hush" * 2000 + b" HTTP/1.1\r\n\r\n", "Request Line is too large"),
    ],
)
def test_malformed_request__is_logged_without_its_content(live: ServiceProcess, fault: bytes, kind: str) -> None:
    """A misspelt header may hold a token."""
    before = len(live.log_text)
    with RawClient(live.port) as connection:
        connection.send(fault).answer().read()
        assert connection.hung_up()
    added = live.log_text[before:]
    assert f"Invalid request from ip=127.0.0.1: {kind}\n" in added
    assert "hush" not in added
