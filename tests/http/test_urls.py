"""Paths, queries and methods: what a run is told of them is what was sent."""

import json
from typing import Any

import pytest
from kubernetes import client

from app.common.http_limits import PARSE_ERRORS
from tests.http.clients import Caller, Wire, check_document, check_problem
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
        ("/job/public/../private", "../private"),
        ("/job/public/.", "."),
        ("/job/public/a%20b%25", "a b%"),
        ("/job/public/%0Aa%0A/b%0D%0A", "\na\n/b\r\n"),
        ("/job/public/a+b;c=d", "a+b;c=d"),
        ("/job/public/%F0%9F%98%80", "\U0001f600"),
        ("/job/public/%EF%BF%BD", "\ufffd"),
        ("/job/public/%zz", "%zz"),
        ("/job/public/aaaaaaaaaaaa", "aaaaaaaaaaaa"),
    ],
)
def test_the_rest_of_the_path_reaches_the_run_decoded_and_otherwise_untouched(
    caller: Caller, batch: client.BatchV1Api, namespace: str, target: str, path: str | None
) -> None:
    """No redirect, no tidying up: dots and slashes are the caller's data."""
    answer = caller.post(target)

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/job/public/{answer.json['Id']}"
    assert environment(batch, namespace).get("SLIMFAAS_JOB_PATH") == path


@pytest.mark.parametrize("query", ["a=b&a=c", "%00%2F%zz", "a+b", "?", "x=%F0%9F%98%80"])
def test_the_query_reaches_the_run_as_it_was_sent(
    caller: Caller, batch: client.BatchV1Api, namespace: str, query: str
) -> None:
    """Nothing in it is decoded."""
    assert caller.post(f"/job/public?{query}").status_code == 202
    assert environment(batch, namespace)["SLIMFAAS_JOB_QUERY"] == query


def test_an_empty_query_is_none(caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """Programs see no variable where there is nothing to say."""
    assert caller.post("/job/public?").status_code == 202
    assert {"SLIMFAAS_JOB_PATH", "SLIMFAAS_JOB_QUERY"}.isdisjoint(environment(batch, namespace))


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/job/public/a%2Fb", id="an encoded slash"),
        pytest.param("/job/public%2fb", id="an encoded slash after the name"),
        pytest.param("/job/public/%00", id="a NUL"),
        pytest.param("/job/public/%ff", id="no UTF-8"),
        pytest.param("/job/public/%ED%A0%80", id="half of a surrogate pair"),
        pytest.param("/job/public/a#b", id="a fragment"),
        pytest.param("/job/public?a#b", id="a fragment after the query"),
    ],
)
def test_a_url_that_a_run_could_not_be_told_exactly_is_refused(live: ServiceProcess, target: str) -> None:
    """It gets 400, not a run that sees another path."""
    with Wire(live.port) as wire:
        answer = wire.send_request("POST", target).answer()
        assert answer.status == 400
        check_document(json.loads(answer.read()), 400)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/job",
        "/job/",
        "/job//public",
        "/job/../job/public",
        "/job/Public",
        "/job/public.",
        "/job/%00",
        "/job/%ff",
        "/job/%F0%9F%98%80",
        "/job/" + "a" * 3000,
        "/jobs/public",
        "/health/",
        "/static/app.py",
    ],
)
def test_what_is_not_there_gets_404(caller: Caller, target: str) -> None:
    """A name is what the configuration calls it, to the letter."""
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
def test_other_methods_get_405_and_are_told_which_are_allowed(
    caller: Caller, method: str, target: str, allowed: set[str]
) -> None:
    """Also where HTTP has a meaning for the method that this service doesn't offer."""
    answer = caller.call(method, target)
    check_problem(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_no_header_turns_a_call_into_another_one(caller: Caller) -> None:
    """Method overrides and rewritten hosts or prefixes are conventions of others."""
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Forwarded-Prefix": "/x", "X-Forwarded-Host": "evil.example"}
    answer = caller.post("/job/public", headers=headers, base_url="http://evil.example")
    assert answer.status_code == 202
    assert "evil" not in answer.headers["Location"]


def test_head_is_get_without_its_body(live: ServiceProcess) -> None:
    """Errors included."""
    for target, status in {"/health": 200, "/job/public/aaaaaaaaaaaa": 404}.items():
        with Wire(live.port) as wire:
            answer = wire.send(f"HEAD {target} HTTP/1.0\r\n\r\n".encode()).answer("HEAD")
            assert (answer.status, answer.read()) == (status, b"")
            assert wire.hung_up()


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
            b"POST /job/public HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"
        ),
        pytest.param(b"POST /job/public HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", id="an unknown coding"),
        pytest.param(b"POST /job/public\xff HTTP/1.1\r\n\r\n", id="a byte that no URL has"),
        pytest.param(b"POST /job/" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", id="a line too long"),
        pytest.param(b"POST /job/public HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", id="too many headers"),
        pytest.param(b"POST /job/public HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_ended(live: ServiceProcess, request_bytes: bytes) -> None:
    """Two readers could take them for different things; the problem document repeats nothing of what came."""
    with Wire(live.port) as wire:
        answer = wire.send(request_bytes).answer()
        assert answer.status in (400, 414, 431, 501)
        assert answer.getheader("Content-Type") == "application/problem+json"
        document = json.loads(answer.read())
        check_document(document, answer.status)
        assert document["detail"] == PARSE_ERRORS[answer.status].detail
        assert wire.hung_up()


def head_of(fields: int, length: int) -> bytes:
    """A request whose head has so many fields of so many bytes."""
    return b"GET /health HTTP/1.1\r\n" + (b"A: " + b"b" * (length - 5) + b"\r\n") * fields + b"\r\n"


@pytest.mark.parametrize(
    ("fields", "length", "status"),
    [(1, 8000, 200), (1, 8200, 431), (64, 400, 200), (65, 10, 431), (4, 8000, 200), (8, 8000, 431), (63, 8000, 431)],
)
def test_a_head_is_bounded_by_its_fields_and_as_a_whole(
    live: ServiceProcess, fields: int, length: int, status: int
) -> None:
    """Whoever opens many connections must not fill the memory with what was never a call."""
    with Wire(live.port) as wire:
        assert wire.send(head_of(fields, length)).answer().status == status


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (b"POST /job/public HTTP/1.1\r\nAuthorization Bearer hush\r\n\r\n", "Invalid HTTP Header"),
        (b"POST /job/public HTTP/1.1\r\nAuthorization : Bearer hush\r\n\r\n", "Invalid HTTP header name"),
        (b"POST /job/public HTTP/1.1\r\nTransfer-Encoding: hush\r\n\r\n", "Unsupported transfer coding"),
        (b"hush\r\n\r\n", "Invalid HTTP request line"),
        (b"GET /?hush HTTP/1.1 hush\r\n\r\n", "Invalid HTTP Version"),
        (b"hush(hush / HTTP/1.1\r\n\r\n", "Invalid HTTP method"),
        (b"GET /" + b"hush" * 2000 + b" HTTP/1.1\r\n\r\n", "Request Line is too large"),
    ],
)
def test_the_log_says_what_kind_of_fault_no_http_has_and_nothing_of_what_it_holds(
    live: ServiceProcess, fault: bytes, kind: str
) -> None:
    """A token in a header that is misspelt is a token."""
    before = len(live.log_text)
    with Wire(live.port) as wire:
        wire.send(fault).answer().read()
        assert wire.hung_up()
    added = live.log_text[before:]
    assert f"Invalid request from ip=127.0.0.1: {kind}\n" in added
    assert "hush" not in added
