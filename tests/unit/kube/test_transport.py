"""How a call is sent, over a connection that is kept."""

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes.client import Configuration

from app.kube import transport
from app.kube.errors import UnavailableError
from app.kube.transport import MERGE_PATCH, ApiTransport


@dataclass
class ApiServer:
    """Responds to every request with an object, and notes the requests.

    Attributes:
        url: its address.
        requests: the line, the headers and the body of each.
        status: of the responses.
    """

    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that runs."""
    running = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            running.requests.append((self.requestline, headers, body))
            self.send_response(running.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_PATCH = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        http_server.daemon_threads = True
        running.url = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=http_server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            http_server.shutdown()
            thread.join()


def connect(server: ApiServer, path: str = "", token: str | None = None) -> ApiTransport:
    configuration = Configuration(host=server.url + path)
    configuration.proxy = None
    if token is not None:
        configuration.api_key["BearerToken"] = token
    return ApiTransport(configuration, "default")


def test_call__sends_a_request_in_one_piece(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert {json.loads(body)["kind"] for _, _, body in server.requests} == {"Job"}


def test_call__quotes_the_query_and_keeps_the_path_of_the_server(server: ApiServer) -> None:
    connect(server, "/k8s/clusters/c-1/").call(
        "GET", "/api/v1/pods", query={"labelSelector": "a=b,c in (d e)", "limit": 5}
    )
    [(line, headers, _)] = server.requests
    assert line == "GET /k8s/clusters/c-1/api/v1/pods?labelSelector=a%3Db%2Cc%20in%20%28d%20e%29&limit=5 HTTP/1.1"
    assert headers["accept"] == "application/json"
    assert headers["user-agent"] == "slimfaas-jobs"
    assert "authorization" not in headers
    assert "content-type" not in headers


def test_call__sends_the_type_of_the_body(server: ApiServer) -> None:
    calls = connect(server)
    calls.call("POST", "/api/v1/events", body={})
    calls.call("PATCH", "/api/v1/events", body={}, content_type=MERGE_PATCH)
    assert [headers["content-type"] for _, headers, _ in server.requests] == ["application/json", MERGE_PATCH]


def test_call__sends_a_token_that_was_renewed(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is used for a moment before the client is asked for it again."""
    calls = connect(server, token="bearer first")
    asked = 0

    def refresh(configuration: Configuration) -> None:
        nonlocal asked
        asked += 1
        configuration.api_key["BearerToken"] = f"bearer {asked}"

    calls._configuration.refresh_api_key_hook = refresh
    for _ in range(3):
        calls.call("GET", "/api/v1/pods")
    monkeypatch.setattr(transport, "_TOKEN_SECONDS", -1.0)
    calls._headers_until = float("-inf")
    for _ in range(2):
        calls.call("GET", "/api/v1/pods")
    tokens = [headers["authorization"] for _, headers, _ in server.requests]
    assert tokens == ["bearer 1"] * 3 + ["bearer 2", "bearer 3"]


def test_call__follows_no_redirect(server: ApiServer) -> None:
    server.status = 302
    with pytest.raises(UnavailableError):
        connect(server).call("GET", "/api/v1/pods")
    assert len(server.requests) == 1
