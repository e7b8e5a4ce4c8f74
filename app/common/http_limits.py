"""The limits of an HTTP request before Flask sees it, and the answers to requests that exceed them."""

from collections.abc import Mapping
from http import HTTPStatus

from gunicorn.http.errors import InvalidChunkSize  # type: ignore[import-untyped] # gunicorn has no annotations

from schemas.problem import Problem

MAX_HEAD_BYTES = 32 * 1024
"""The most that the fields of a head may have in all; what nginx takes by default."""

MAX_BODY_BYTES = 64 * 1024
"""The largest body that a request may have."""

MAX_CHUNKS = 1024
"""The most chunks that a body may come in: the largest body in chunks of 64 bytes. In chunks of one byte it keeps the
interpreter busy for half a second, a thousand times as long as in one."""


PARSE_ERRORS: Mapping[int, Problem] = {
    status.value: Problem(status, detail)
    for status, detail in {
        HTTPStatus.BAD_REQUEST: "malformed HTTP request: the request line, a header or the body's length is not valid",
        HTTPStatus.REQUEST_URI_TOO_LONG: "the request line is longer than 4094 bytes",
        HTTPStatus.EXPECTATION_FAILED: "the expectation of the header Expect is not supported",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "there are more than 64 header fields, one is longer than 8190 "
        "bytes, or all together than 32 KiB",
        HTTPStatus.INTERNAL_SERVER_ERROR: "internal error; the service's log has the details",
        HTTPStatus.NOT_IMPLEMENTED: "the transfer coding is not supported",
    }.items()
}
"""The answers to requests that gunicorn refuses before Flask sees them."""


class TooManyChunksError(InvalidChunkSize):  # type: ignore[misc]
    """A body is cut into more than `MAX_CHUNKS` chunks."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_CHUNKS} chunks")
