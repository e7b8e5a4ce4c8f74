"""How a call is sent, over a connection that is kept."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.kube.api_server import ApiServer
from app.kube.errors import UnavailableError
from app.kube.transport import MERGE_PATCH, ApiTransport
from tests.support.recording import RecordingServer, record


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """Run a server that records requests."""
    with record() as running:
        yield running


def connect(server: RecordingServer, path: str = "") -> ApiTransport:
    return ApiTransport(ApiServer(server.url + path), "default")


def test_call__sends_a_request_in_one_piece(server: RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = http.client.HTTPConnection.send

    def note(self: http.client.HTTPConnection, data: Any) -> None:
        sent.append(bytes(data))
        send(self, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", note)
    calls = connect(server)
    for _ in range(3):
        calls.call("POST", "/apis/batch/v1/namespaces/default/jobs", body={"kind": "Job", "é": 1})
    assert len(sent) == 3
    assert {json.loads(body)["kind"] for body in server.bodies} == {"Job"}


def test_call__quotes_the_query_and_keeps_the_path_of_the_server(server: RecordingServer) -> None:
    connect(server, "/k8s/clusters/c-1/").call(
        "GET", "/api/v1/pods", query={"labelSelector": "a=b,c in (d e)", "limit": 5}
    )
    [(line, headers)] = server.requests
    assert line == "GET /k8s/clusters/c-1/api/v1/pods?labelSelector=a%3Db%2Cc%20in%20%28d%20e%29&limit=5 HTTP/1.1"
    assert headers["accept"] == "application/json"
    assert headers["user-agent"] == "slimfaas-jobs"
    assert "authorization" not in headers
    assert "content-type" not in headers


def test_call__sends_the_type_of_the_body(server: RecordingServer) -> None:
    calls = connect(server)
    calls.call("POST", "/api/v1/events", body={})
    calls.call("PATCH", "/api/v1/events", body={}, content_type=MERGE_PATCH)
    assert [headers["content-type"] for _, headers in server.requests] == ["application/json", MERGE_PATCH]


def test_call__follows_no_redirect(server: RecordingServer) -> None:
    server.status = lambda _: 302
    with pytest.raises(UnavailableError):
        connect(server).call("GET", "/api/v1/pods")
    assert len(server.requests) == 1
