"""gunicorn's request parser with further limits, and problem documents for requests that it cannot parse.

gunicorn limits each line of a request's head, and the pause between two reads. It does not limit the size of the whole
head (64 fields of 8 KiB are half a MiB per thread), the time until the request is complete, or the number of chunks of
its body.
"""

import json
import socket
import time
from http import HTTPStatus
from typing import Any

from gunicorn.http.body import Body, ChunkedReader  # type: ignore[import-untyped] # it has no annotations
from gunicorn.http.message import Request as GunicornRequest  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

from app.common.http_limits import MAX_CHUNKS, MAX_HEAD_BYTES, PARSE_ERRORS, TooManyChunksError
from schemas.problem import CONTENT_TYPE, Problem

_PIECE_BYTES = 64 * 1024
"""How much of a body is read at once, which is also the largest body. gunicorn would read 1 MiB per request: with many
requests at the same time that is more memory than the pod has."""

_REQUEST_SECONDS = 20.0
"""How long a client may take to send a request, its body included."""


class _ChunkedReader(ChunkedReader):  # type: ignore[misc]
    chunks = 0

    def parse_chunk_size(self, *args: Any, **options: Any) -> Any:
        self.chunks += 1
        if self.chunks > MAX_CHUNKS + 1:  # the last chunk is empty
            raise TooManyChunksError
        return super().parse_chunk_size(*args, **options)


class _Request(GunicornRequest):  # type: ignore[misc]
    body: Body
    max_buffer_headers: int  # set by the base class before it parses

    def parse(self, unreader: Any) -> Any:
        self.max_buffer_headers = min(self.max_buffer_headers, MAX_HEAD_BYTES)
        return super().parse(unreader)

    def set_body_reader(self) -> None:
        super().set_body_reader()
        if isinstance(self.body.reader, ChunkedReader):
            self.body = Body(_ChunkedReader(self, self.unreader))


class _Unreader(SocketUnreader):  # type: ignore[misc]
    deadline = float("inf")
    max_body_chunk = _PIECE_BYTES

    def chunk(self, *args: Any) -> Any:
        if time.monotonic() > self.deadline:
            raise BlockingIOError("the request took too long to arrive")  # as after a read timeout
        return super().chunk(*args)


class Parser(RequestParser):  # type: ignore[misc]
    """gunicorn's parser, with limits on the head, the number of chunks, and the time until the request is complete."""

    mesg_class = _Request

    def __init__(self, cfg: Any, source: socket.socket, source_addr: Any) -> None:
        super().__init__(cfg, source, source_addr)
        self.unreader = _Unreader(source)

    def __next__(self) -> Any:
        """Return the next request on the connection. Its time begins now, because its first bytes are there."""
        self.unreader.deadline = time.monotonic() + _REQUEST_SECONDS
        return super().__next__()


class ProblemWriter:
    """A client's connection that replaces the error page that gunicorn sends with a problem document.

    gunicorn's page is HTML, and quotes the request.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the connection."""
        return getattr(self._connection, name)

    def sendall(self, response: bytes) -> None:
        """Send a problem document with the status of the given response."""
        status = HTTPStatus(int(response.split(b" ", 2)[1]))
        problem = PARSE_ERRORS.get(status) or Problem(status, status.phrase)
        body = json.dumps(problem.document()).encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} {problem.title}\r\nConnection: close\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._connection.sendall(head.encode() + body)
