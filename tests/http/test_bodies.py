"""Request bodies: read as JSON whatever their content type, completely or not at all."""

import contextlib
import gzip
import json
import time

import pytest
from kubernetes import client

from tests.http.clients import Caller, RawClient, check_document, check_problem, faults
from tests.support.service import ServiceProcess

LIMIT = 64 * 1024
CURL = "application/x-www-form-urlencoded"


def padded(size: int) -> bytes:
    return b"{}" + b" " * (size - 2)


@pytest.mark.parametrize("content_type", [CURL, "multipart/form-data", "text/plain", "application/json", "\xff", None])
def test_body__is_read_as_json_whatever_its_content_type(
    caller: Caller, batch: client.BatchV1Api, namespace: str, content_type: str | None
) -> None:
    """`curl -d` sends the content type of a form."""
    response = caller.post("/job/public", '{"Args": ["42"]}', content_type=content_type)

    assert response.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.spec.template.spec.containers[0].args == ["42"]


def test_body__may_be_absent(caller: Caller) -> None:
    assert caller.post("/job/public").status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b" \n", id="nothing but white space"),
        pytest.param(b"Args=1", id="a form"),
        pytest.param(b'{"Args": []', id="cut off"),
        pytest.param(b"{} {}", id="two documents"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"Args": ["\xe9"]}', id="Latin-1"),
        pytest.param(b'{"BackoffLimit": NaN}', id="NaN"),
        pytest.param(b'{"BackoffLimit": ' + b"9" * 5000 + b"}", id="an integer of 5000 digits"),
        pytest.param(b"[" * 30_000 + b"]" * 30_000, id="nested 30,000 levels deep"),
        pytest.param(b'{"Args": ["\0"]}', id="a NUL byte"),
        pytest.param(gzip.compress(b"{}"), id="compressed"),
    ],
)
def test_body__that_is_not_json_gets_400(caller: Caller, body: bytes) -> None:
    assert "not JSON" in check_problem(caller.post("/job/public", body), 400)["detail"]


@pytest.mark.parametrize("body", ["[]", '"{}"', "null", "1", "true"])
def test_body__that_is_not_an_object_gets_422(caller: Caller, body: str) -> None:
    response = caller.post("/job/public", body)
    check_problem(response, 422)
    assert faults(response) == {"": "must be a JSON object"}


def test_body__with_several_faults_gets_all_of_them_in_one_response(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """Wrong types, unknown fields, and what the definition does not allow; no value is repeated."""
    body = {
        "args": [],
        "BackoffLimit": "1",
        "Image": "alpine:3",
        "Resources": {"Limits": {"cpu": "2", "memory": "1Mi"}},
        "DependsOn": ["Not_A_Name"],
        "Environments": [{"Name": "SLIMFAAS_JOB_ID", "Value": "caller's own secret"}],
    }
    response = caller.post("/job/public", json.dumps(body))

    check_problem(response, 422)
    assert set(faults(response)) >= {
        "/args",
        "/BackoffLimit",
        "/Image",
        "/Resources/Limits/cpu",
        "/Resources/Limits/memory",
        "/DependsOn/0",
        "/Environments/0/Name",
    }
    assert "caller's own secret" not in response.text
    assert batch.list_namespaced_job(namespace).items == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"Args": [], "Args": ["1"]}', "/Args"),
        ('{"Args": ["\\u0000"]}', "/Args/0"),
        ('{"Args": ["\\ud800"]}', "/Args/0"),
        ('{"BackoffLimit": 1.0}', "/BackoffLimit"),
        ('{"BackoffLimit": true}', "/BackoffLimit"),
        ('{"BackoffLimit": 2147483648}', "/BackoffLimit"),
        ('{"a/b~c": 1}', "/a~1b~0c"),
    ],
)
def test_body__with_an_inapplicable_value_gets_its_pointer(caller: Caller, body: str, pointer: str) -> None:
    """Pointers are escaped as in RFC 6901."""
    response = caller.post("/job/public", body)
    check_problem(response, 422)
    assert pointer in faults(response)


@pytest.mark.parametrize(("size", "status"), [(LIMIT - 1, 202), (LIMIT, 202), (LIMIT + 1, 413), (20 * LIMIT, 413)])
def test_body__over_64_kib_gets_413(caller: Caller, size: int, status: int) -> None:
    response = caller.post("/job/public", padded(size))
    assert response.status_code == status
    if status == 413:
        assert "64 KiB" in check_problem(response)["detail"]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 202), (LIMIT + 1, 413), (3 * LIMIT, 413)])
def test_chunked_body__over_64_kib_gets_413(live: ServiceProcess, size: int, status: int) -> None:
    """A truncated body would be another request."""
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, padded(size))
    with RawClient(live.port) as connection:
        response = connection.send_request("POST", "/job/public", "Transfer-Encoding: chunked", body=body).answer()
        assert response.status == status
        if status == 413:
            check_document(json.loads(response.read()), 413)


@pytest.mark.parametrize(("chunks", "status"), [(1024, 202), (1025, 400), (5000, 400)])
def test_chunked_body__of_more_than_1024_chunks_gets_400(live: ServiceProcess, chunks: int, status: int) -> None:
    """Each chunk costs as much as a whole body, so clients that send single bytes could block the service."""
    body = b"".join(b"1\r\n%c\r\n" % character for character in padded(chunks)) + b"0\r\n\r\n"
    with RawClient(live.port) as connection:
        response = connection.send_request("POST", "/job/public", "Transfer-Encoding: chunked", body=body).answer()
        assert response.status == status
        if status == 400:
            document = json.loads(response.read())
            check_document(document, 400)
            assert "1024 chunks" in document["detail"]


@pytest.mark.parametrize(
    ("header", "body"),
    [
        pytest.param("Content-Length: 20", b"{}", id="less than announced"),
        pytest.param("Content-Length: 20", b"", id="nothing of what was announced"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\n{}", id="less than the chunk"),
        pytest.param("Transfer-Encoding: chunked", b"2\r\n{}\r\n", id="no last chunk"),
        pytest.param("Transfer-Encoding: chunked", b"xyz\r\n{}", id="a chunk without a size"),
        pytest.param("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\na\0b\r\n\r\n", id="a malformed trailer"),
    ],
)
def test_body__that_is_incomplete_gets_400(live: ServiceProcess, header: str, body: bytes) -> None:
    """A client that dies while sending must not start a run with the defaults."""
    with RawClient(live.port) as connection:
        response = connection.send_request("POST", "/job/public", header, body=body).end().answer()
        assert response.status == 400
        assert response.getheader("Content-Type") == "application/problem+json"
        check_document(json.loads(response.read()), 400)


def test_body__of_a_client_that_falls_silent_gets_400(live: ServiceProcess) -> None:
    with RawClient(live.port) as connection:
        response = connection.send_request("POST", "/job/public", "Content-Length: 20", body=b"{").answer()
        check_document(json.loads(response.read()), 400)
        assert response.status == 400


@pytest.mark.slow
def test_body__of_a_client_that_sends_single_bytes_gets_400(live: ServiceProcess) -> None:
    """Each byte arrives in time, but neither the head nor the body may take unlimited time."""
    body = b"POST /job/public HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n"
    with RawClient(live.port) as slow_head, RawClient(live.port) as slow_body:
        slow_head.send(b"GET /health HTTP/1.1\r\nA: ")
        slow_body.send(body)
        for _ in range(30):
            time.sleep(1)
            with contextlib.suppress(ConnectionError):
                slow_head.send(b"b")
            with contextlib.suppress(ConnectionError):
                slow_body.send(b" ")
        response = slow_body.answer()
        assert response.status == 400
        check_document(json.loads(response.read()), 400)
        assert slow_head.hung_up()


def test_body__that_is_unread_does_not_become_the_next_request(live: ServiceProcess) -> None:
    smuggled = b"POST /job/public HTTP/1.1\r\nHost: service\r\n\r\n"
    with RawClient(live.port) as connection:
        first = connection.send_request("POST", "/job/unknown", body=smuggled).answer()
        check_document(json.loads(first.read()), 404)
        second = connection.send_request("GET", "/health", "Connection: close").answer()
        assert (second.status, second.read()) == (200, b"OK\n")
        assert connection.hung_up()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"Args": [' + ",".join(["1"] * 30_000) + "]}", id="arguments"),
        pytest.param('{"Environments": [' + ",".join(["{}"] * 20_000) + "]}", id="variables"),
        pytest.param("{" + ",".join(f'"f{number}": 1' for number in range(5_000)) + "}", id="fields"),
    ],
)
def test_body__with_over_100_faults_gets_the_first_100(caller: Caller, body: str) -> None:
    """The last entry says that there are more."""
    response = caller.post("/job/public", body)
    errors = check_problem(response, 422)["errors"]
    assert len(errors) == 101
    assert errors[-1] == {"pointer": "", "message": "there are more faults than these 100"}
    assert len(response.data) < 32 * 1024


def test_body__with_too_many_dependencies_gets_one_fault(caller: Caller) -> None:
    """The single dependencies are not checked."""
    response = caller.post("/job/public", '{"DependsOn": [' + ",".join(['"*"'] * 15_000) + "]}")
    assert [error["pointer"] for error in check_problem(response, 422)["errors"]] == ["/DependsOn"]


def test_body__with_100_faults_gets_all_of_them(caller: Caller) -> None:
    errors = check_problem(caller.post("/job/public", '{"Args": [' + ",".join(["1"] * 100) + "]}"), 422)["errors"]
    assert {error["pointer"] for error in errors} == {f"/Args/{number}" for number in range(100)}
