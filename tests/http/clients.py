"""How the tests call the service: through Flask's test client, or byte by byte."""

import socket
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

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
"""What the tests call: runs of both stay queued, for nobody is ever ready."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What the service sends when it is about to read the body of a call that expects it."""

ANYBODY = {"REMOTE_ADDR": "203.0.113.7"}


@dataclass(frozen=True)
class Caller:
    """Calls the application without a network in between."""

    client: FlaskClient

    def post(self, path: str, body: bytes | str = b"", **options: Any) -> TestResponse:
        """Start a run."""
        return self.client.post(path, data=body, environ_base=ANYBODY, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """Read something."""
        return self.client.get(path, environ_base=ANYBODY, **options)

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Use any method."""
        return self.client.open(path, method=method, environ_base=ANYBODY, **options)


def faults(response: TestResponse) -> dict[str, str]:
    """The faults of a problem document: messages by pointer."""
    return {fault["pointer"]: fault["message"] for fault in check_problem(response).get("errors", ())}


def check_problem(response: TestResponse, status: int | None = None) -> dict[str, Any]:
    """Hold an answer against the one shape of problem documents; returns the document.

    Args:
        response: the answer.
        status: what its status must be; `None`: any.
    """
    if status is not None:
        assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    document: dict[str, Any] = response.get_json()
    check_document(document, response.status_code)
    return document


def check_document(document: Any, status: int) -> None:
    """Hold a problem document against the one shape that all of them have."""
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


class Wire:
    """One connection to the service, on which anything can be sent."""

    def __init__(self, port: int, *, timeout_seconds: float = 20.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_seconds)

    def send(self, *parts: bytes) -> "Wire":
        """Send bytes as they are."""
        self._socket.sendall(b"".join(parts))
        return self

    def send_request(self, method: str, target: str, *headers: str, body: bytes = b"") -> "Wire":
        """Send a request; a body is announced by its length, unless a header announces it otherwise."""
        lines = [f"{method} {target} HTTP/1.1", "Host: service", *headers]
        if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"), body)

    def end(self) -> "Wire":
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, method: str = "GET") -> HTTPResponse:
        """Wait for the head of the answer to a method; its body can be read."""
        response = HTTPResponse(self._socket, method=method)
        response.begin()
        return response

    def receive(self, length: int) -> bytes:
        """Wait for so many bytes, or for the end of what is sent."""
        return self._socket.recv(length, socket.MSG_WAITALL)

    def hung_up(self) -> bool:
        """Wait until the service closes the connection, or sends something."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
