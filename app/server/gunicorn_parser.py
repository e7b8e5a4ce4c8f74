"""How requests come in, and how those are refused that gunicorn can't read: what lies before Flask.

gunicorn bounds each line of a request's head and the silence between two pieces. It bounds neither the head as a whole
(64 fields of 8 KiB are half a MiB, for each thread), nor the time that a request may take to arrive, nor into how many
chunks its body is cut.
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
"""How much of a body is taken in at once: as much as one may have in all. gunicorn's MiB, from many at the same time,
would be more memory than the whole pod has."""

_REQUEST_SECONDS = 20.0
"""How long a request may take to arrive, its body included."""


class _ChunkedReader(ChunkedReader):  # type: ignore[misc]
    chunks = 0

    def parse_chunk_size(self, *args: Any, **options: Any) -> Any:
        self.chunks += 1
        if self.chunks > MAX_CHUNKS + 1:  # the last one has nothing in it
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
            raise BlockingIOError("the request has not arrived in time")  # as for a client that has fallen silent
        return super().chunk(*args)


class Parser(RequestParser):  # type: ignore[misc]
    """gunicorn's, for requests whose head is not too large and that arrive in time."""

    mesg_class = _Request

    def __init__(self, cfg: Any, source: socket.socket, source_addr: Any) -> None:
        super().__init__(cfg, source, source_addr)
        self.unreader = _Unreader(source)

    def __next__(self) -> Any:
        """The next request on the connection; its time begins now, for some of it is there."""
        self.unreader.deadline = time.monotonic() + _REQUEST_SECONDS
        return super().__next__()


class ProblemWriter:
    """A client's connection, on which what gunicorn writes of an error arrives as a problem document.

    gunicorn's own page is HTML, and repeats what is wrong with the request.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        """Everything else is the connection's."""
        return getattr(self._connection, name)

    def sendall(self, written: bytes) -> None:
        """Send the problem document of the status that was written."""
        status = HTTPStatus(int(written.split(b" ", 2)[1]))
        problem = PARSE_ERRORS.get(status) or Problem(status, status.phrase)
        body = json.dumps(problem.document()).encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} {problem.title}\r\nConnection: close\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._connection.sendall(head.encode() + body)
