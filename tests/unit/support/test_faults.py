"""The fault proxy that other tests rely on makes the faults that it says, and no others."""

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
    """A server that stores what is posted, echoes it, and streams the lines of `events` to whoever watches."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: list[tuple[str, bytes]] = []
        self.events: queue.Queue[bytes] = queue.Queue()
        self.authorizations: list[str | None] = []
        self.closed = threading.Semaphore(0)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.server_port}"

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Closes a connection, and counts that it was closed."""
        super().shutdown_request(request)
        self.closed.release()


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1, connections kept alive."""

    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        """Watches, or answers with the path; under `/hang-up` the connection is closed without a warning."""
        self.close_connection = self.path == "/hang-up"
        if "watch=1" in self.path:
            self._watch()
        else:
            self.server.authorizations.append(self.headers["Authorization"])
            self._answer(b"the answer to " + self.path.encode())

    def do_POST(self) -> None:
        """Stores and echoes the body."""
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
            return  # whoever watched has gone
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are the proxy's to record."""


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
    """A client with connections of its own."""
    client = requests.Session()
    client.trust_env = False  # a machine's own proxy has no place here
    return client


def get(client: requests.Session, proxy: FaultProxy, path: str = "/", seconds: float = DEADLINE_SECONDS) -> bytes:
    return client.get(proxy.url + path, timeout=seconds).content


def post(client: requests.Session, proxy: FaultProxy, body: str, path: str = "/jobs") -> bytes:
    return client.post(proxy.url + path, data=body, timeout=DEADLINE_SECONDS).content


def lines_of(watch: requests.Response) -> Iterator[bytes]:
    """The lines of a watch, each as soon as it has come."""
    return iter(watch.raw.stream(amt=None))


def open_watch(client: requests.Session, proxy: FaultProxy, seconds: float = DEADLINE_SECONDS) -> requests.Response:
    return client.get(proxy.url + "/jobs?watch=1", stream=True, timeout=seconds)


def test_without_faults_requests_and_answers_pass_unchanged(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """A client can't tell the proxy from the server, and one connection carries all its requests."""
    assert get(client, proxy, "/a%20path?limit=2") == b"the answer to /a%20path?limit=2"
    assert post(client, proxy, "x" * 300_000) == b"x" * 300_000
    assert proxy.connections == 1


def test_requests_are_recorded(proxy: FaultProxy, client: requests.Session) -> None:
    """Each request is there with method, path, query, body, status and times, in the order of coming."""
    before = time.monotonic()
    get(client, proxy, "/jobs?limit=2")
    post(client, proxy, "body")
    first, second = proxy.wait_for(lambda request: request.finished is not None, count=2)
    assert (first.method, first.path, first.query, first.body) == ("GET", "/jobs", "limit=2", b"")
    assert (second.method, second.path, second.query, second.body) == ("POST", "/jobs", "", b"body")
    assert all(request.status == 200 and request.forwarded and request.fault is None for request in [first, second])
    assert first.finished is not None
    assert before <= first.started <= first.finished <= second.started <= time.monotonic()


def test_waiting_for_a_request_that_does_not_come_ends(proxy: FaultProxy) -> None:
    """A test that waits in vain fails with what it waited for."""
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        proxy.wait_for(lambda request: True, timeout_seconds=0.01)


def test_own_credentials_replace_the_clients(server: ApiServer, client: requests.Session) -> None:
    """With a token of the proxy's the server sees that one, without it the client's."""
    client.headers["Authorization"] = "Bearer mine"
    with FaultProxy(server.url, token="ours") as proxy:
        get(client, proxy)
    with FaultProxy(server.url) as proxy:
        get(client, proxy)
    assert server.authorizations == ["Bearer ours", "Bearer mine"]


def test_lost_request_never_reaches_the_server(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """The client sees its connection dropped, and nothing was stored."""
    lost = proxy.add(Fault(LoseRequest(), method="POST"))
    with pytest.raises(requests.ConnectionError):
        post(client, proxy, "first")
    post(client, proxy, "second")
    assert server.stored == [("/jobs", b"second")]
    assert proxy.hits(lost) == 1
    assert [request.fault for request in proxy.requests] == [lost, None]
    assert not proxy.requests[0].forwarded


def test_lost_answer_leaves_the_write_stored(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """The client sees its connection dropped, though the server stored what was sent and said so."""
    proxy.add(Fault(LoseResponse(), method="POST"))
    with pytest.raises(requests.ConnectionError):
        post(client, proxy, "first")
    assert server.stored == [("/jobs", b"first")]
    assert proxy.requests[0].status == 200


def test_truncated_answer_ends_in_the_middle(proxy: FaultProxy, client: requests.Session) -> None:
    """The client gets the first bytes of the body and then no more, before its announced end."""
    proxy.add(Fault(Truncate(body_bytes=3)))
    with client.get(proxy.url, stream=True, timeout=DEADLINE_SECONDS) as answer:
        assert answer.raw.read(3) == b"the"
        with pytest.raises(ProtocolError):
            answer.raw.read(1)


@pytest.mark.parametrize("head", [True, False])
def test_a_trickling_answer_comes_whole_and_byte_by_byte(
    proxy: FaultProxy, client: requests.Session, head: bool
) -> None:
    """There is a pause between two bytes, of the body at least."""
    proxy.add(Fault(Trickle(pause_seconds=0.02, head=head)))
    started = time.monotonic()
    body = get(client, proxy)
    assert body == b"the answer to /"
    assert time.monotonic() - started >= (len(body) - 1) * 0.02


def test_refusal_is_a_status_object(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """The answer has the status, reason and retry time asked for, and the connection goes on."""
    proxy.add(Fault(Refuse(429, "TooManyRequests", retry_after_seconds=7), method="POST"))
    answer = client.post(proxy.url + "/jobs", data="x", timeout=DEADLINE_SECONDS)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    status = answer.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", 429)
    assert (status["reason"], status["details"]) == ("TooManyRequests", {"retryAfterSeconds": 7})
    post(client, proxy, "second")
    assert server.stored == [("/jobs", b"second")]
    assert proxy.connections == 1


@pytest.mark.parametrize("delay", [Delay(before_seconds=0.2), Delay(after_seconds=0.2)])
def test_delay_lasts_as_long_as_told(
    server: ApiServer, proxy: FaultProxy, client: requests.Session, delay: Delay
) -> None:
    """The answer comes whole, and not before the time is over."""
    proxy.add(Fault(delay))
    started = time.monotonic()
    assert post(client, proxy, "body") == b"body"
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(("forward", "stored"), [(False, []), (True, [("/jobs", b"x")])])
def test_silent_connection_stays_open(
    server: ApiServer, proxy: FaultProxy, client: requests.Session, forward: bool, stored: list[tuple[str, bytes]]
) -> None:
    """Nothing comes and nothing ends until the client gives up; other connections aren't touched."""
    proxy.add(Fault(GoSilent(forward=forward), method="POST"))
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
    assert server.stored == stored
    assert get(client, proxy) == b"the answer to /"


def test_held_request_lands_late(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """A request whose client gave up is stored on release, after one that was sent later."""
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


def test_held_request_is_forgotten_when_the_proxy_closes(server: ApiServer, client: requests.Session) -> None:
    """Closing the proxy neither waits for a release nor forwards what is held."""
    hold = Hold()
    with FaultProxy(server.url) as proxy:
        proxy.add(Fault(hold))
        with pytest.raises(requests.ReadTimeout):
            client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
        hold.wait_held()
    assert server.stored == []


def test_faults_strike_those_requests_that_they_name(proxy: FaultProxy, client: requests.Session) -> None:
    """Method, path and predicate must all match, and the first fault added strikes first."""
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
    ("skip", "every", "times", "struck"),
    [
        (0, 1, 1, [True, False, False, False, False, False]),
        (0, 1, None, [True, True, True, True, True, True]),
        (2, 1, 2, [False, False, True, True, False, False]),
        (1, 2, None, [False, True, False, True, False, True]),
        (0, 3, 1, [True, False, False, False, False, False]),
    ],
)
def test_faults_strike_as_often_as_told(
    proxy: FaultProxy, client: requests.Session, skip: int, every: int, times: int | None, struck: list[bool]
) -> None:
    """`skip` pass first, then each `every`-th is struck, `times` in all."""
    fault = proxy.add(Fault(Refuse(409, "Conflict"), skip=skip, every=every, times=times))
    answers = [client.get(proxy.url, timeout=DEADLINE_SECONDS) for _ in struck]
    assert [answer.status_code == 409 for answer in answers] == struck
    assert proxy.hits(fault) == sum(struck)


def test_watch_streams_each_event_as_it_comes(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """An event reaches the client before there is another, and the watch's end is its end."""
    with open_watch(client, proxy) as watch:
        events = lines_of(watch)
        for line in [b"first\n", b"second\n"]:
            server.events.put(line)
            assert next(events) == line
        server.events.put(b"")
        assert list(events) == []
    assert proxy.requests[0].watching


def test_cutting_watches_leaves_other_connections(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """The watch breaks at once; a connection that carries none goes on."""
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


def test_client_that_stops_watching_frees_its_connection(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """The proxy ends an exchange whose client has closed its connection."""
    with open_watch(client, proxy):
        pass
    client.close()
    proxy.wait_for(lambda request: request.finished is not None)


def test_silenced_watch_speaks_again_when_healed(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """A half-open watch brings nothing, not even its end; healed, it brings what was kept back."""
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
        assert get(client, proxy) == b"the answer to /"
        proxy.heal()
        watch.settimeout(DEADLINE_SECONDS)
        assert b"kept back" in watch.recv(PIECE_BYTES)


def test_silence_of_all_swallows_new_connections_too(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """A partition accepts a connection and answers nothing; what was sent lands once it is healed."""
    proxy.silence()
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="x", timeout=SOON_SECONDS)
    assert server.stored == []
    proxy.heal()
    proxy.wait_for(lambda request: request.status == 200)
    assert server.stored == [("/jobs", b"x")]


def test_cut_of_all_drops_what_is_in_flight(server: ApiServer, proxy: FaultProxy, client: requests.Session) -> None:
    """A client that waits for its answer sees the connection end."""
    proxy.add(Fault(GoSilent()))

    def cut_once_asked() -> None:
        proxy.wait_for(lambda request: True)
        proxy.cut_all()

    cut = threading.Thread(target=cut_once_asked)
    cut.start()
    with pytest.raises(requests.ConnectionError, match="Connection aborted"):
        get(client, proxy)
    cut.join()


def test_refused_connections_leave_the_open_ones(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """New connections are refused until healed, on the same address; one that is open still works."""
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


def test_healing_removes_faults_and_releases_what_is_held(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """After `heal` no fault strikes, and what was held has landed."""
    hold = Hold()
    proxy.add(Fault(hold, times=None))
    with pytest.raises(requests.ReadTimeout):
        client.post(proxy.url + "/jobs", data="held", timeout=SOON_SECONDS)
    proxy.heal()
    post(client, proxy, "next")
    proxy.wait_for(lambda request: request.status == 200, count=2)
    assert sorted(server.stored) == [("/jobs", b"held"), ("/jobs", b"next")]


def test_server_that_is_gone_looks_gone(client: requests.Session) -> None:
    """The proxy answers nothing in the server's name: the client sees its connection dropped."""
    with ApiServer() as server:
        url = server.url
    with FaultProxy(url) as proxy:
        with pytest.raises(requests.ConnectionError):
            get(client, proxy)
        assert proxy.requests[0].status is None


def test_server_that_closes_idle_connections_is_no_fault(
    server: ApiServer, proxy: FaultProxy, client: requests.Session
) -> None:
    """A request on a connection whose upstream side has been closed meanwhile gets its answer."""
    get(client, proxy, "/hang-up")
    assert server.closed.acquire(timeout=DEADLINE_SECONDS)
    assert post(client, proxy, "x") == b"x"
    assert proxy.connections == 1


def test_passed_through_bytes_can_be_cut_and_silenced(server: ApiServer, client: requests.Session) -> None:
    """Without looking into the bytes connections can be silenced, cut and healed, but requests not be struck."""
    with FaultProxy(server.url, passthrough=True) as proxy:
        assert json.loads(post(client, proxy, "[1]")) == [1]
        proxy.silence()
        with pytest.raises(requests.ReadTimeout):
            get(client, proxy, seconds=SOON_SECONDS)
        proxy.heal()
        proxy.cut_all()
        assert get(client, proxy) == b"the answer to /"
        with pytest.raises(ValueError, match="passthrough"):
            proxy.add(Fault(LoseResponse()))
