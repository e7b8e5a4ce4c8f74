"""Clients of the service: Flask's test client, or raw bytes on a connection."""

import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.waiting import DEADLINE_SECONDS

SECRET = "the-value-of-a-variable"

DEFINITIONS: dict[str, Any] = {
    "Configurations": {
        "public": {
            "Image": "busybox:1",
            "Visibility": "Public",
            "DependsOn": ["nobody"],
            "Resources": {"Limits": {"cpu": "1"}},
            "Environments": [{"Name": "PASSWORD", "Value": SECRET}],
        },
        "private": {"Image": "busybox:1"},
    }
}
"""The definitions of most tests. Their runs stay queued, because `nobody` is never ready."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Sent by the service when it is about to read the body of a request with `Expect: 100-continue`."""

UNTRUSTED_CLIENT = {"REMOTE_ADDR": "203.0.113.7"}


@dataclass(frozen=True)
class Caller:
    """Sends requests to the application without a network."""

    client: FlaskClient

    def post(self, path: str, body: bytes | str = b"", **options: Any) -> TestResponse:
        """Start a run."""
        return self.client.post(path, data=body, environ_base=UNTRUSTED_CLIENT, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """Send a GET."""
        return self.client.get(path, environ_base=UNTRUSTED_CLIENT, **options)

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request with any method."""
        return self.client.open(path, method=method, environ_base=UNTRUSTED_CLIENT, **options)


MakeCaller = Callable[..., Caller]
"""Builds the application with further settings."""


def faults(response: TestResponse) -> dict[str, str]:
    """Return the faults of a problem document: messages by pointer."""
    return {fault["pointer"]: fault["message"] for fault in check_problem(response).get("errors", ())}


def check_problem(response: TestResponse, status: int | None = None) -> dict[str, Any]:
    """Check that a response is a well-formed problem document, and return the document.

    Args:
        response: the response.
        status: the expected status; `None`: any.
    """
    if status is not None:
        assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = response.get_json()
    check_document(document, response.status_code)
    return document


def check_document(document: Any, status: int) -> None:
    """Check that a problem document is well-formed and reveals no secret."""
    assert isinstance(document, dict)
    assert set(document) - {"errors"} == {"type", "title", "status", "detail"}
    assert document["status"] == status
    for key in ("type", "title", "detail"):
        assert isinstance(document[key], str)
        assert document[key]
    for fault in document.get("errors", ()):
        assert set(fault) == {"pointer", "message"}
        assert fault["pointer"] == "" or fault["pointer"].startswith("/")
        assert fault["message"]
    text = str(document)
    assert "Traceback" not in text
    assert SECRET not in text


class RawClient:
    """A connection to the service on which any bytes can be sent.

    Args:
        port: of the service.
        source: the client's own address; empty: any.
        timeout_seconds: of each call.
        receive_bytes: how much the client's kernel takes before the client reads; 0: its default.
    """

    def __init__(
        self, port: int, *, source: str = "", timeout_seconds: float = DEADLINE_SECONDS, receive_bytes: int = 0
    ) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(timeout_seconds)
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            self._socket.bind((source, 0))
            self._socket.connect(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise

    def send(self, *parts: bytes) -> "RawClient":
        """Send bytes as they are."""
        self._socket.sendall(b"".join(parts))
        return self

    def send_request(self, method: str, target: str, *headers: str, body: bytes = b"") -> "RawClient":
        """Send a request, with Content-Length unless a header says how long the body is."""
        lines = [f"{method} {target} HTTP/1.1", "Host: service", *headers]
        if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"), body)

    def end(self) -> "RawClient":
        """Close the sending side."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, method: str = "GET") -> HTTPResponse:
        """Wait for the head of the response to a method; its body can then be read."""
        response = HTTPResponse(self._socket, method=method)
        response.begin()
        return response

    def receive(self, length: int) -> bytes:
        """Wait for this number of bytes, or for the end of the response."""
        return self._socket.recv(length, socket.MSG_WAITALL)

    def has_answer(self) -> bool:
        """Return whether the service has sent anything, or has closed the connection."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def hung_up(self) -> bool:
        """Wait until the service closes the connection or sends something; return whether it has closed it."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
