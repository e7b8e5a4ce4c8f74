"""When all of a request has arrived."""

import socket

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped] # it has no annotations

from app.common.http_limits import MAX_BODY_BYTES, MAX_CHUNKS, MAX_HEAD_BYTES
from app.server.gunicorn_parser import Parser
from app.server.request_scan import RequestScan

HEAD = b"POST /job/public HTTP/1.1\r\nHost: a\r\n"
COMPLETE = [
    pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", id="no body"),
    pytest.param(HEAD + b"Content-Length: 2\r\n\r\n{}", id="length"),
    pytest.param(HEAD + b"CONTENT-length:2\r\nExpect: 100-continue\r\n\r\n{}", id="length, another way"),
    pytest.param(HEAD + b"Content-Length: 0\r\n\r\n", id="empty body"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="chunk"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n01\r\n}\r\n0\r\n\r\n", id="two chunks"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nDigest: x\r\n\r\n", id="trailer"),
    pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="no chunk"),
    pytest.param(b"\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n{}", id="empty lines first"),
]


@pytest.mark.parametrize("request_bytes", COMPLETE)
@pytest.mark.parametrize("step", [1, 3, 7])
def test_missing__is_0_as_soon_as_all_has_arrived(request_bytes: bytes, step: int) -> None:
    """However it is cut into pieces; and never more than what is really missing."""
    scan = RequestScan()
    for size in range(1, len(request_bytes), step):
        assert 0 < scan.missing(request_bytes[:size]) <= len(request_bytes) - size
    assert scan.missing(request_bytes) == 0
    assert RequestScan().missing(request_bytes) == 0
    assert RequestScan().missing(request_bytes + b"GET / HTTP/1.1\r\n") == 0


@pytest.mark.parametrize("request_bytes", COMPLETE)
def test_parser__never_waits_for_a_complete_request(request_bytes: bytes) -> None:
    """The parser has all that it reads: its socket is not read at all."""
    client, service = socket.socketpair()
    with client, service:
        service.setblocking(False)
        parser = Parser(Config(), service, ("127.0.0.1", 1))
        parser.unreader.unread(request_bytes.lstrip(b"\r\n"))
        request = next(parser)
        assert request.body.read(MAX_BODY_BYTES) in (b"", b"{}")
        assert request.body.read(1) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(HEAD + b"Content-Length: 65537\r\n\r\n", id="too long"),
        pytest.param(HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", id="much too long"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", id="negative"),
        pytest.param(HEAD + b"Content-Length: +5\r\n\r\n", id="signed"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", id="no size"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", id="negative chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n", id="long chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 2000, id="long size"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a" * 2 * MAX_HEAD_BYTES, id="long trailer"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (MAX_CHUNKS + 2), id="too many chunks"
        ),
        pytest.param(b"A" * (3 * MAX_HEAD_BYTES), id="a head without an end"),
    ],
)
def test_missing__is_0_for_what_the_parser_refuses(request_bytes: bytes) -> None:
    assert RequestScan().missing(request_bytes) == 0


def test_missing__tells_what_the_budget_needs() -> None:
    scan = RequestScan()
    assert (scan.missing(HEAD), scan.is_body_known) == (1, False)
    head = HEAD + b"Content-Length: 65000\r\nExpect: 100-Continue\r\n\r\n"
    assert (scan.missing(head), scan.is_body_known, scan.expects_continue) == (65_000, True, True)
    assert scan.missing_of(len(head) + 60_000, lambda: pytest.fail("it is not needed")) == 5_000
