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

from gunicorn.http.body import Body, ChunkedReader, LengthReader  # type: ignore[import-untyped] # it has no annotations
from gunicorn.http.errors import LimitRequestHeaders  # type: ignore[import-untyped]
from gunicorn.http.message import Request as GunicornRequest  # type: ignore[import-untyped]
from gunicorn.http.parser import RequestParser  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

from app.common.http_limits import MAX_CHUNKS, MAX_HEAD_BYTES, PARSE_ERRORS, TooManyChunksError
from schemas.problem import CONTENT_TYPE, Problem

_PIECE_BYTES = 64 * 1024
"""How much of a body is read at once, which is also the largest body. gunicorn would read 1 MiB per request: with many
requests at the same time that is more memory than the pod has."""

REQUEST_SECONDS = 20.0
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

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:
        # gunicorn compares the size only while the end of the head has not arrived yet.
        if len(data) > self.max_buffer_headers:
            raise LimitRequestHeaders("max buffer headers")
        return super().parse_headers(data, from_trailer)

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
    """gunicorn's parser, with limits on the head, the number of chunks, and the time until the request is complete.

    Attributes:
        deadline: until when to wait for the rest of the next request (`time.monotonic()`); `None`: as long as usual.
        was_continued: whether its client was sent `100 Continue`.
    """

    mesg_class = _Request

    def __init__(self, cfg: Any, source: socket.socket, source_addr: Any) -> None:
        super().__init__(cfg, source, source_addr)
        self.unreader = _Unreader(source)
        self.deadline: float | None = None
        self.was_continued = False

    def __next__(self) -> Any:
        """Return the next request on the connection."""
        self.unreader.deadline = time.monotonic() + REQUEST_SECONDS if self.deadline is None else self.deadline
        request = super().__next__()
        if self.was_continued and request:
            request._expected_100_continue = False  # the worker has sent it
        return request

    def finish_body(self, *arguments: Any, **options: Any) -> Any:
        """Skip what the application has not read of a body; return whether the connection can carry another request.

        Usually everything has been read. gunicorn would change the socket's timeout and back all the same. Each change
        is a system call that gives the interpreter to another thread.
        """
        body = self.mesg.body if self.mesg else None
        if body is not None and not body.failed and isinstance(body.reader, LengthReader) and not body.reader.length:
            return True
        return super().finish_body(*arguments, **options)


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
        self._connection.sendall(write_problem(PARSE_ERRORS.get(status) or Problem(status, status.phrase)))


def write_problem(problem: Problem) -> bytes:
    """Return a response that ends the connection."""
    body = json.dumps(problem.document()).encode() + b"\n"
    headers = {
        "Connection": "close",
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
