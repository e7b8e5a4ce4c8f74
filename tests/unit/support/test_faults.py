"""The fault proxy injects the configured faults, and no others."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from urllib3.exceptions import ProtocolError

from tests.support.faults import (
    Call,
    Delay,
    Fault,
    FaultProxy,
    GoSilent,
    Hold,
    LoseRequest,
    LoseResponse,
    Refuse,
    Trickle,
    Truncate,
)
from tests.support.waiting import DEADLINE_SECONDS

SOON_SECONDS = 0.3  # long enough for what would happen at once
PIECE_BYTES = 65536


class ApiServer(ThreadingHTTPServer):
    """A server that stores and echoes POST bodies, and streams the lines of `events` to watches."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: list[tuple[str, bytes]] = []
        self.events: queue.Queue[bytes] = queue.Queue()
        self.authorizations: list[str | None] = []
        self.closed = threading.Semaphore(0)

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection, and count it."""
        super().shutdown_request(request)
        self.closed.release()


class Handler(BaseHTTPRequestHandler):
    """Handles HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        """Serve a watch, or respond with the path; under `/hang-up`, close the connection without notice."""
        self.close_connection = self.path == "/hang-up"
        if "watch=1" in self.path:
            self._watch()
        else:
            self.server.authorizations.append(self.headers["Authorization"])
            self._answer(b"the response to " + self.path.encode())

    def do_POST(self) -> None:
        """Store and echo the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored.append((self.path, body))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while line := self.server.events.get():
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        except OSError:
            return  # the client has disconnected
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the proxy records the requests."""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.block_on_close = False
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        yield server
        server.events.put(b"")
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: ApiServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with new_client() as client:
        yield client


def new_client() -> requests.Session:
    """Return a client with its own connections."""
    client = requests.Session()
    client.trust_env = False  # ignore the machine's proxy settings
    return client


def get(client: requests.Session, proxy: FaultProxy, path: str = "/", seconds: float = DEADLINE_SECONDS) -> bytes:
    return client.get(proxy.url + path, timeout=seconds).content


def post(client: requests.Session, proxy: FaultProxy, body: str, path: str = "/jobs") -> bytes:
    return client.post(proxy.url + path, data=body, timeout=DEADLINE_SECONDS).content


def lines_of(watch: requests.Response) -> Iterator[bytes]:
    """Yield the lines of a watch as they arrive."""
    return iter(watch.raw.stream(amt=None))


def open_watch(client: requests.Session, proxy: FaultProxy, seconds: float = DEADLINE_SECONDS) -> requests.Response:
    return client.get(proxy.url + "/jobs?watch=1", stream=True, timeout=seconds)


def test_proxy__without_faults__passes_requests_and_responses_unchanged(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """One connection carries all requests of a client."""
    assert get(client, proxy, "/a%20path?limit=2") == b"the response to /a%20path?limit=2"
    assert post(client, proxy, "x" * 300_000) == b"x" * 300_000
    assert proxy.connections == 1


def test_requests__are_recorded_in_order(proxy: FaultProxy, client: requests.Session) -> None:
    before = time.monotonic()
    get(client, proxy, "/jobs?limit=2")
    post(client, proxy, "body")
    first, second = proxy.wait_for(lambda request: request.finished is not None, count=2)
    assert (first.method, first.path, first.query, first.body) == ("GET", "/jobs", "limit=2", b"")
    assert (second.method, second.path, second.query, second.body) == ("POST", "/jobs", "", b"body")
    assert all(request.status == 200 and request.forwarded and request.fault is None for request in [first, second])
    assert first.finished is not None
    assert before <= first.started <= first.finished <= second.started <= time.monotonic()


def test_wait_for__request_that_does_not_come__times_out(proxy: FaultProxy) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        proxy.wait_for(lambda request: True, timeout_seconds=0.01)


def test_token__replaces_the_clients_credentials(server: ApiServer, client: requests.Session) -> None:
    client.headers["Authorization"] = "Bearer mine"
    with FaultProxy(server.url, token="ours") as proxy:
        get(client, proxy)
    with FaultProxy(server.url) as proxy:
        get(client, proxy)
    assert server.authorizations == ["Bearer ours", "Bearer mine"]


def test_lose_request__never_reaches_the_server(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    lost = proxy.add(Fault(LoseRequest(), method="POST"))
    with pytest.raises(requests.ConnectionError):
        post(client, proxy, "first")
    post(client, proxy, "second")
    assert server.stored == [("/jobs", b"second")]
    assert proxy.hits(lost) == 1
    assert [request.fault for request in proxy.requests] == [lost, None]
    assert not proxy.requests[0].forwarded


def test_lose_response__leaves_the_write_stored(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    proxy.add(Fault(LoseResponse(), method="POST"))
    with pytest.raises(requests.ConnectionError):
        post(client, proxy, "first")
    assert server.stored == [("/jobs", b"first")]
    assert proxy.requests[0].status == 200


def test_truncate__ends_in_the_middle_of_the_body(proxy: FaultProxy, client: requests.Session) -> None:
    proxy.add(Fault(Truncate(body_bytes=3)))
    with client.get(proxy.url, stream=True, timeout=DEADLINE_SECONDS) as response:
        assert response.raw.read(3) == b"the"
        with pytest.raises(ProtocolError):
            response.raw.read(1)


@pytest.mark.parametrize("head", [True, False])
def test_trickle__sends_the_whole_response_byte_by_byte(
    proxy: FaultProxy, client: requests.Session, head: bool
) -> None:
    """There is a pause between two bytes, of the body at least."""
    proxy.add(Fault(Trickle(pause_seconds=0.02, head=head)))
    started = time.monotonic()
    body = get(client, proxy)
    assert body == b"the response to /"
    assert time.monotonic() - started >= (len(body) - 1) * 0.02


def test_refuse__responds_with_a_status_object(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """The connection can be used again."""
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=7), method="POST"))
    response = client.post(proxy.url + "/jobs", data="x", timeout=DEADLINE_SECONDS)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "7"
    status = response.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", 429)
    assert (status["reason"], status["details"]) == ("TooManyRequests", {"retryAfterSeconds": 7})
    post(client, proxy, "second")
    assert server.stored == [("/jobs", b"second")]
    assert proxy.connections == 1


@pytest.mark.parametrize("delay", [Delay(before_seconds=0.2), Delay(after_seconds=0.2)])
def test_delay__lasts_at_least_as_long_as_configured(
    server: ApiServer, proxy: FaultProxy, client: requests.Session, delay: Delay
) -> None:
    proxy.add(Fault(delay))
    started = time.monotonic()
    assert post(client, proxy, "body") == b"body"
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(("forward", "stored"), [(False, []), (True, [("/jobs", b"x")])])
def test_go_silent__keeps_the_connection_open(
    server: ApiServer, proxy: FaultProxy, client: requests.Session, forward: bool, stored: list[tuple[str, bytes]]
) -> None:
    """The client times out; other connections are not affected."""
    proxy.add(Fault(GoSilent(forward=forward), method="POST"))
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
    if forward:
        proxy.wait_for(lambda request: request.status == 200)
    assert server.stored == stored
    assert get(client, proxy) == b"the response to /"


def test_hold__request_is_forwarded_on_release(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """Even if its client has timed out; a later request overtakes it."""
    hold = Hold()
    proxy.add(Fault(hold, method="POST"))
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="early", timeout=SOON_SECONDS)
    hold.wait_held()
    post(client, proxy, "late")
    proxy.cut_all()
    hold.release()
    proxy.wait_for(lambda request: request.body == b"early" and request.status == 200)
    assert server.stored == [("/jobs", b"late"), ("/jobs", b"early")]


def test_call__happens_when_the_write_is_stored_and_before_its_response(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    seen = list[int]()
    answered = threading.Event()

    def act() -> None:
        seen.append(len(server.stored))
        assert not answered.wait(SOON_SECONDS)

    proxy.add(Fault(Call(act), method="POST"))
    assert client.post(f"{proxy.url}/jobs", b"first").content == b"first"
    answered.set()
    assert seen == [1]


def test_hold__closing_the_proxy_discards_the_request(server: ApiServer, client: requests.Session) -> None:
    hold = Hold()
    with FaultProxy(server.url) as proxy:
        proxy.add(Fault(hold))
        with pytest.raises(requests.ReadTimeout):
            client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
        hold.wait_held()
    assert server.stored == []


def test_fault__applies_only_to_matching_requests(proxy: FaultProxy, client: requests.Session) -> None:
    """Method, path and condition must all match; the fault that was added first has precedence."""
    proxy.add(Fault(Refuse(500, "InternalError"), method="PUT|POST", path="^/jobs$", when=lambda r: b"x" in r.body))
    proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="POST"))
    status = [
        client.request(method, proxy.url + path, data=body, timeout=DEADLINE_SECONDS).status_code
        for method, path, body in [
            ("GET", "/jobs", ""),
            ("POST", "/jobs/1", "x"),
            ("POST", "/jobs", "y"),
            ("POST", "/jobs", "x"),
        ]
    ]
    assert status == [200, 503, 200, 500]


@pytest.mark.parametrize(
    ("skip", "every", "times", "applied"),
    [
        (0, 1, 1, [True, False, False, False, False, False]),
        (0, 1, None, [True, True, True, True, True, True]),
        (2, 1, 2, [False, False, True, True, False, False]),
        (1, 2, None, [False, True, False, True, False, True]),
        (0, 3, 1, [True, False, False, False, False, False]),
    ],
)
def test_fault__skip_every_and_times_select_requests(
    proxy: FaultProxy, client: requests.Session, skip: int, every: int, times: int | None, applied: list[bool]
) -> None:
    fault = proxy.add(Fault(Refuse(409, "Conflict"), skip=skip, every=every, times=times))
    responses = [client.get(proxy.url, timeout=DEADLINE_SECONDS) for _ in applied]
    assert [response.status_code == 409 for response in responses] == applied
    assert proxy.hits(fault) == sum(applied)


def test_watch__each_event_is_passed_on_at_once(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    with open_watch(client, proxy) as watch:
        events = lines_of(watch)
        for line in [b"first\n", b"second\n"]:
            server.events.put(line)
            assert next(events) == line
        server.events.put(b"")
        assert list(events) == []
    assert proxy.requests[0].watching


def test_cut_watches__keeps_other_connections(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    with new_client() as other:
        get(other, proxy)
        with open_watch(client, proxy) as watch:
            assert proxy.watches == 1 < proxy.connections
            proxy.cut_watches()
            with pytest.raises(ProtocolError):
                next(lines_of(watch))
        opened = proxy.connections
        get(other, proxy)
        assert proxy.connections <= opened
    proxy.wait_for(lambda request: request.watching and request.finished is not None)


def test_watch__client_that_disconnects__ends_the_exchange(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    with open_watch(client, proxy):
        pass
    client.close()
    proxy.wait_for(lambda request: request.finished is not None)


def test_silence__of_watches_is_ended_by_heal(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """A silent watch delivers nothing, not even its end; after `heal` it delivers what was held back."""
    address = ("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    with socket.create_connection(address) as watch:
        watch.sendall(b"GET /jobs?watch=1 HTTP/1.1\r\nHost: any\r\n\r\n")
        assert watch.recv(PIECE_BYTES).startswith(b"HTTP/1.1 200")
        proxy.silence(watches_only=True)
        server.events.put(b"kept back\n")
        server.events.put(b"")
        watch.settimeout(SOON_SECONDS)
        with pytest.raises(TimeoutError):
            watch.recv(PIECE_BYTES)
        assert get(client, proxy) == b"the response to /"
        proxy.heal()
        watch.settimeout(DEADLINE_SECONDS)
        assert b"kept back" in watch.recv(PIECE_BYTES)


def test_silence__of_all_connections_includes_new_ones(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """The request is forwarded after `heal`."""
    proxy.silence()
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
    assert server.stored == []
    proxy.heal()
    proxy.wait_for(lambda request: request.status == 200)
    assert server.stored == [("/jobs", b"x")]


def test_cut_all__drops_requests_in_flight(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    proxy.add(Fault(GoSilent()))

    def cut_after_first_request() -> None:
        proxy.wait_for(lambda request: True)
        proxy.cut_all()

    cut = threading.Thread(target=cut_after_first_request)
    cut.start()
    with pytest.raises(requests.ConnectionError, match="Connection aborted"):
        get(client, proxy)
    cut.join()


def test_refuse_connections__keeps_open_ones(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """New connections are refused until `heal`; the URL stays the same."""
    get(client, proxy)
    url = proxy.url
    proxy.refuse_connections()
    with new_client() as other, pytest.raises(requests.ConnectionError, match="refused"):
        get(other, proxy)
    get(client, proxy)
    proxy.heal()
    with new_client() as other:
        get(other, proxy)
    assert proxy.url == url


def test_heal__removes_faults_and_releases_held_requests(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    hold = Hold()
    proxy.add(Fault(hold, times=None))
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="held", timeout=SOON_SECONDS)
    proxy.heal()
    post(client, proxy, "next")
    proxy.wait_for(lambda request: request.status == 200, count=2)
    assert sorted(server.stored) == [("/jobs", b"held"), ("/jobs", b"next")]


def test_unreachable_server__client_connection_is_dropped(client: requests.Session) -> None:
    with ApiServer() as server:
        url = server.url
    with FaultProxy(url) as proxy:
        with pytest.raises(requests.ConnectionError):
            get(client, proxy)
        assert proxy.requests[0].status is None


def test_idle_upstream_connection_closed_by_the_server__request_succeeds(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    get(client, proxy, "/hang-up")
    assert server.closed.acquire(timeout=DEADLINE_SECONDS)
    assert post(client, proxy, "x") == b"x"
    assert proxy.connections == 1


def test_passthrough__permits_connection_faults_only(server: ApiServer, client: requests.Session) -> None:
    with FaultProxy(server.url, passthrough=True) as proxy:
        assert json.loads(post(client, proxy, "[1]")) == [1]
        proxy.silence()
        with pytest.raises(requests.ReadTimeout):
            get(client, proxy, seconds=SOON_SECONDS)
        proxy.heal()
        proxy.cut_all()
        assert get(client, proxy) == b"the response to /"
        with pytest.raises(ValueError, match="passthrough"):
            proxy.add(Fault(LoseResponse()))
