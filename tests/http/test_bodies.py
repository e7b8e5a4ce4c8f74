"""The body of a call: read as JSON whatever it is called, whole, or not at all."""

import contextlib
import gzip
import json
import time

import pytest
from kubernetes import client

from tests.http.clients import Caller, Wire, check_document, check_problem, faults
from tests.support.service import ServiceProcess

LIMIT = 64 * 1024
CURL = "application/x-www-form-urlencoded"


def padded(size: int) -> bytes:
    return b"{}" + b" " * (size - 2)


@pytest.mark.parametrize("content_type", [CURL, "multipart/form-data", "text/plain", "application/json", "\xff", None])
def test_the_body_is_json_whatever_its_content_type_says(
    caller: Caller, batch: client.BatchV1Api, namespace: str, content_type: str | None
) -> None:
    """`curl -d` sends a form's content type; the arguments arrive all the same."""
    answer = caller.post("/job/public", '{"Args": ["42"]}', content_type=content_type)

    assert answer.status_code == 202
    (job,) = batch.list_namespaced_job(namespace).items
    assert job.spec.template.spec.containers[0].args == ["42"]


def test_no_body_takes_every_default(caller: Caller) -> None:
    """`curl -X POST` alone starts a run."""
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
def test_what_is_no_json_gets_400(caller: Caller, body: bytes) -> None:
    """The detail says what is wrong with it."""
    assert "not JSON" in check_problem(caller.post("/job/public", body), 400)["detail"]


@pytest.mark.parametrize("body", ["[]", '"{}"', "null", "1", "true"])
def test_json_that_is_no_object_gets_422(caller: Caller, body: str) -> None:
    """The whole document is at fault."""
    answer = caller.post("/job/public", body)
    check_problem(answer, 422)
    assert faults(answer) == {"": "must be a JSON object"}


def test_every_fault_is_named_at_once_whoever_finds_it(
    caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    """Wrong types, unknown fields, and what the definition doesn't allow come in one answer; no value is repeated."""
    body = {
        "args": [],
        "BackoffLimit": "1",
        "Image": "alpine:3",
        "Resources": {"Limits": {"cpu": "2", "memory": "1Mi"}},
        "DependsOn": ["Not_A_Name"],
        "Environments": [{"Name": "SLIMFAAS_JOB_ID", "Value": "caller's own secret"}],
    }
    answer = caller.post("/job/public", json.dumps(body))

    check_problem(answer, 422)
    assert set(faults(answer)) >= {
        "/args",
        "/BackoffLimit",
        "/Image",
        "/Resources/Limits/cpu",
        "/Resources/Limits/memory",
        "/DependsOn/0",
        "/Environments/0/Name",
    }
    assert "caller's own secret" not in answer.text
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
def test_a_value_that_can_not_be_applied_as_given_gets_422(caller: Caller, body: str, pointer: str) -> None:
    """The pointer says where it is, escaped as RFC 6901 has it."""
    answer = caller.post("/job/public", body)
    check_problem(answer, 422)
    assert pointer in faults(answer)


@pytest.mark.parametrize(("size", "status"), [(LIMIT - 1, 202), (LIMIT, 202), (LIMIT + 1, 413), (20 * LIMIT, 413)])
def test_a_body_has_at_most_64_kib(caller: Caller, size: int, status: int) -> None:
    """The last byte that is allowed is taken, the first one more refused."""
    answer = caller.post("/job/public", padded(size))
    assert answer.status_code == status
    if status == 413:
        assert "64 KiB" in check_problem(answer)["detail"]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 202), (LIMIT + 1, 413), (3 * LIMIT, 413)])
def test_a_chunked_body_has_at_most_64_kib_too(live: ServiceProcess, size: int, status: int) -> None:
    """What comes without a length is not cut off at the bound: half a request would be another request."""
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, padded(size))
    with Wire(live.port) as wire:
        answer = wire.send_request("POST", "/job/public", "Transfer-Encoding: chunked", body=body).answer()
        assert answer.status == status
        if status == 413:
            check_document(json.loads(answer.read()), 413)


@pytest.mark.parametrize(("chunks", "status"), [(1024, 202), (1025, 400), (5000, 400)])
def test_a_body_comes_in_at_most_1024_chunks(live: ServiceProcess, chunks: int, status: int) -> None:
    """Each costs as much as a whole body: a few clients that send theirs byte by byte would keep all others waiting."""
    body = b"".join(b"1\r\n%c\r\n" % character for character in padded(chunks)) + b"0\r\n\r\n"
    with Wire(live.port) as wire:
        answer = wire.send_request("POST", "/job/public", "Transfer-Encoding: chunked", body=body).answer()
        assert answer.status == status
        if status == 400:
            document = json.loads(answer.read())
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
        pytest.param("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\na\0b\r\n\r\n", id="a trailer that is none"),
    ],
)
def test_a_body_that_does_not_come_to_its_end_starts_nothing(live: ServiceProcess, header: str, body: bytes) -> None:
    """A caller that dies while it sends has not asked for a run of the defaults."""
    with Wire(live.port) as wire:
        answer = wire.send_request("POST", "/job/public", header, body=body).end().answer()
        assert answer.status == 400
        assert answer.getheader("Content-Type") == "application/problem+json"
        check_document(json.loads(answer.read()), 400)


def test_a_caller_that_falls_silent_in_its_body_gets_400(live: ServiceProcess) -> None:
    """It doesn't hold a thread for as long as it likes."""
    with Wire(live.port) as wire:
        answer = wire.send_request("POST", "/job/public", "Content-Length: 20", body=b"{").answer()
        check_document(json.loads(answer.read()), 400)
        assert answer.status == 400


def test_a_caller_that_sends_a_byte_now_and_then_does_not_hold_a_thread_for_ever(live: ServiceProcess) -> None:
    """Each byte comes in time, the request doesn't: neither its head nor its body may take as long as it likes."""
    body = b"POST /job/public HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n"
    with Wire(live.port) as slow_head, Wire(live.port) as slow_body:
        slow_head.send(b"GET /health HTTP/1.1\r\nA: ")
        slow_body.send(body)
        for _ in range(30):
            time.sleep(1)
            with contextlib.suppress(ConnectionError):
                slow_head.send(b"b")
            with contextlib.suppress(ConnectionError):
                slow_body.send(b" ")
        answer = slow_body.answer()
        assert answer.status == 400
        check_document(json.loads(answer.read()), 400)
        assert slow_head.hung_up()


def test_a_refused_body_is_not_taken_for_the_next_request(live: ServiceProcess) -> None:
    """On a kept-alive connection an unread body is thrown away, or the connection ended."""
    smuggled = b"POST /job/public HTTP/1.1\r\nHost: service\r\n\r\n"
    with Wire(live.port) as wire:
        first = wire.send_request("POST", "/job/unknown", body=smuggled).answer()
        check_document(json.loads(first.read()), 404)
        second = wire.send_request("GET", "/health", "Connection: close").answer()
        assert (second.status, second.read()) == (200, b"OK\n")
        assert wire.hung_up()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"Args": [' + ",".join(["1"] * 30_000) + "]}", id="arguments"),
        pytest.param('{"Environments": [' + ",".join(["{}"] * 20_000) + "]}", id="variables"),
        pytest.param("{" + ",".join(f'"f{number}": 1' for number in range(5_000)) + "}", id="fields"),
    ],
)
def test_of_very_many_faults_the_first_are_told_and_that_there_are_more(caller: Caller, body: str) -> None:
    """A body within the bounds makes no answer of megabytes."""
    answer = caller.post("/job/public", body)
    errors = check_problem(answer, 422)["errors"]
    assert len(errors) == 101
    assert errors[-1] == {"pointer": "", "message": "there are more faults than these 100"}
    assert len(answer.data) < 32 * 1024


def test_of_very_many_dependencies_only_that_is_told(caller: Caller) -> None:
    """How many there may be is said once, and none of them is looked at."""
    answer = caller.post("/job/public", '{"DependsOn": [' + ",".join(['"*"'] * 15_000) + "]}")
    assert [error["pointer"] for error in check_problem(answer, 422)["errors"]] == ["/DependsOn"]


def test_a_hundred_faults_are_all_told(caller: Caller) -> None:
    """Nothing is said to be left out that isn't."""
    errors = check_problem(caller.post("/job/public", '{"Args": [' + ",".join(["1"] * 100) + "]}"), 422)["errors"]
    assert {error["pointer"] for error in errors} == {f"/Args/{number}" for number in range(100)}
