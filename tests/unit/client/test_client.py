"""`slimfaas_jobs.Client` against responses, and missing ones, that a test chooses."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from schemas.definition_status import DefinitionSchema, DependencySchema
from schemas.run import RunSchema
from schemas.schedule_view import ScheduleViewSchema
from slimfaas_jobs import (
    Client,
    Definition,
    Dependency,
    InvalidResponseError,
    JobsError,
    NotFoundError,
    RefusedError,
    Run,
    RunDeletedError,
    Schedule,
    TokenError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
    token_from_command,
    token_from_file,
)
from slimfaas_jobs.models import _key_of
from tests.support.ports import find_free_port

STARTED = {"Id": "abc", "Name": "report-slimfaas-job-abc", "Status": "Queued"}


@dataclass
class Reply:
    """A response; without a status the connection is closed instead."""

    status: int = 0
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes | None = None
    promised: int | None = None


@dataclass
class Call:
    """A request that arrived."""

    method: str
    target: str
    headers: HTTPMessage
    body: bytes


class Service:
    """Gives one prepared reply after the other, the last one again and again."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.replies: list[Reply] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.calls.append(Call(self.command, self.path, self.headers, body))
                self.reply(service.replies.pop(0) if len(service.replies) > 1 else service.replies[0])

            def reply(self, reply: Reply) -> None:
                self.close_connection = True
                if not reply.status:
                    return
                sent = json.dumps(reply.document).encode() if reply.text is None else reply.text
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(sent) if reply.promised is None else reply.promised))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def reply(self, *replies: Reply) -> None:
        """Prepare the replies."""
        self.replies = list(replies)


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    running.thread.start()
    yield running
    running.server.shutdown()
    running.thread.join()
    running.server.server_close()


class Clock:
    """The client's clock, which only its pauses move on."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        """Return the time."""
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.pauses.append(seconds)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skip the pauses, and record them."""
    clock = Clock()
    monkeypatch.setattr("slimfaas_jobs.client.time", clock)
    return clock.pauses


def run(**keys: Any) -> dict[str, Any]:
    return {"Id": "abc", "Name": "report-slimfaas-job-abc", "Status": "Running", **keys}


def problem(status: int, detail: str, **headers: str) -> Reply:
    return Reply(status, {"status": status, "detail": detail}, headers)


@pytest.mark.parametrize(
    ("model", "schema", "ours"),
    [
        (Run, RunSchema, {"Definition", "Document"}),
        (Definition, DefinitionSchema, {"Document"}),
        (Dependency, DependencySchema, set()),
        (Schedule, ScheduleViewSchema, {"Document"}),
    ],
)
def test_models__have_keys_of_the_service_only(model: Any, schema: Any, ours: set[str]) -> None:
    """Under its names. What a model leaves out is in its `document`."""
    known = {_key_of(name) for name in model.__dataclass_fields__}
    assert known - {str(one.data_key) for one in schema().fields.values()} == ours


@pytest.mark.parametrize("lost", [Reply(), problem(503, "the API server is away"), Reply(202, STARTED, promised=999)])
def test_start__lost_answer__repeats_the_same_bytes_under_the_same_key(service: Service, lost: Reply) -> None:
    """No answer, one of a service that can't do it now, and one that breaks off."""
    service.reply(
        lost, lost, Reply(202, STARTED, {"Location": "/batch/job/report/abc", "Idempotency-Replayed": "true"})
    )
    started = Client(service.url).start("Report", args=["a"], environment={"A": "1"}, fields={"DependsOn": ["db"]})
    assert (started.definition, started.id, started.replayed) == ("report", "abc", True)
    assert len(service.calls) == 3
    assert len({(call.body, call.headers["Idempotency-Key"]) for call in service.calls}) == 1
    body = {"DependsOn": ["db"], "Args": ["a"], "Environments": [{"Name": "A", "Value": "1"}]}
    assert json.loads(service.calls[0].body) == body


def test_start__each_has_a_key_of_its_own(service: Service) -> None:
    service.reply(Reply(202, STARTED))
    client = Client(service.url)
    client.start("report")
    client.start("report")
    client.start("report", idempotency_key="mine")
    keys = [call.headers["Idempotency-Key"] for call in service.calls]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_start__refusal__is_raised_at_once_with_its_faults(service: Service) -> None:
    service.reply(Reply(422, {"detail": "no", "errors": [{"pointer": "/Image", "message": "not allowed"}]}))
    with pytest.raises(RefusedError) as refusal:
        Client(service.url).start("report")
    assert (refusal.value.status, refusal.value.faults) == (422, (("/Image", "not allowed"),))
    assert "/Image: not allowed" in str(refusal.value)
    assert len(service.calls) == 1


def test_start__full_queue__waits_as_long_as_it_is_told_to(service: Service, pauses: list[float]) -> None:
    service.reply(problem(429, "the queue is full", **{"Retry-After": "12"}), Reply(202, STARTED))
    assert Client(service.url).start("report").id == "abc"
    assert pauses == [12.0]


def test_start__full_queue_for_longer_than_retries_may_take__is_refused(service: Service, pauses: list[float]) -> None:
    service.reply(problem(429, "the queue is full", **{"Retry-After": "300"}))
    with pytest.raises(RefusedError):
        Client(service.url).start("report")
    assert pauses == []


@pytest.mark.parametrize("status", [502, 503, 504])
def test_call__service_that_stays_away__gives_up(service: Service, status: int) -> None:
    service.reply(problem(status, "away"))
    with pytest.raises(UnavailableError):
        Client(service.url, retry_seconds=0).get("report", "abc")


def test_call__nobody_listens__says_that_nothing_was_sent() -> None:
    with pytest.raises(UnreachableError) as error:
        Client(f"http://127.0.0.1:{find_free_port()}", retry_seconds=0).status()
    assert not error.value.sent


@pytest.mark.parametrize("reply", [Reply(200, text=b"<html>log in</html>"), Reply(200, ["no run"]), Reply(200, {})])
def test_get__other_service__is_told(service: Service, reply: Reply) -> None:
    service.reply(reply)
    with pytest.raises(InvalidResponseError):
        Client(service.url).get("report", "abc")


def test_start__answer_is_lost_and_then_nobody_listens__says_that_it_may_have_been_sent(service: Service) -> None:
    """Otherwise nobody would be told of the key that gets the run."""
    stopped: list[JobsError] = []

    def stop(error: JobsError, _seconds: float) -> None:
        if not stopped:
            service.server.shutdown()
            service.server.server_close()
        stopped.append(error)

    service.reply(Reply())
    with pytest.raises(UnreachableError, match="cannot connect") as error:
        Client(service.url, on_retry=stop).start("report")
    assert error.value.sent
    assert len(service.calls) == 1


def test_get__redirection__is_not_followed(service: Service) -> None:
    """A token must not reach another host."""
    service.reply(Reply(302, headers={"Location": "https://login.example"}))
    with pytest.raises(RefusedError, match=r"https://login\.example"):
        Client(service.url, token="secret").get("report", "abc")
    assert len(service.calls) == 1


def test_get__unknown_keys__are_kept(service: Service) -> None:
    """A newer service has more to say, an older one less."""
    service.reply(Reply(200, run(Future=1, ExitCode=3, Args=None)))
    found = Client(service.url).get("report", "abc")
    assert (found.exit_code, found.attempts, found.args, found.document["Future"]) == (3, 0, None, 1)


def test_wait__goes_on_through_outages_until_the_run_has_ended(service: Service) -> None:
    service.reply(Reply(200, run()), Reply(), problem(503, "away"), Reply(200, run()), Reply(200, run(Status="Failed")))
    seen: list[str] = []
    ended = Client(service.url).wait("report", "abc", on_update=lambda one: seen.append(one.status))
    assert ended.status == "Failed"
    assert seen == ["Running", "Running", "Failed"]
    assert service.calls[-1].headers["Prefer"] == "wait=2"


def test_wait__deleted_run__is_told_from_an_unknown_one(service: Service) -> None:
    service.reply(Reply(200, run()), problem(404, "there is no such run"))
    with pytest.raises(RunDeletedError) as deleted:
        Client(service.url).wait("report", "abc")
    assert deleted.value.run is not None
    with pytest.raises(NotFoundError):
        Client(service.url).wait("report", "abc")


def test_wait__time_is_over__has_the_last_state(service: Service) -> None:
    service.reply(Reply(200, run(Message="waits for a slot")))
    with pytest.raises(WaitTimeoutError, match="waits for a slot") as over:
        Client(service.url).wait("report", "abc", timeout_seconds=0)
    assert over.value.run is not None


def test_cancel__answer_is_lost_and_the_run_gone__is_no_error(service: Service) -> None:
    service.reply(Reply(), problem(404, "there is no such run"))
    assert Client(service.url).cancel("report", "abc") is None
    with pytest.raises(NotFoundError):
        Client(service.url).cancel("report", "abc")


def test_add_schedule__lost_answer__repeats_it_under_the_same_key(service: Service) -> None:
    service.reply(Reply(), Reply(201, {"Id": "mzxw6ytboi4q"}))
    assert Client(service.url).add_schedule("report", "@daily", time_zone="Europe/Paris", args=[]) == "mzxw6ytboi4q"
    first, second = service.calls
    assert (first.target, first.body, first.headers["Idempotency-Key"]) == (
        "/job-schedules/report",
        b'{"Schedule": "@daily", "TimeZone": "Europe/Paris", "Args": []}',
        second.headers["Idempotency-Key"],
    )
    assert second.body == first.body


def test_delete_schedule__answer_is_lost__is_repeated(service: Service) -> None:
    service.reply(Reply(), problem(404, "there is no such schedule"))
    Client(service.url).delete_schedule("report", "abc")
    with pytest.raises(NotFoundError):
        Client(service.url).delete_schedule("report", "abc")


def test_list__follows_the_pages_at_its_own_address(service: Service) -> None:
    """Whatever host a page's link names."""
    link = '<https://elsewhere.example/batch/job/report?limit=2&continue=a%2Bb>; rel="next"'
    service.reply(Reply(200, [run(Id="a"), run(Id="b")], {"Link": link}), Reply(200, [run(Id="c"), run(Id="d")]))
    assert [one.id for one in Client(service.url).list_runs("report", status=["Running"], limit=3)] == ["a", "b", "c"]
    assert [call.target for call in service.calls] == [
        "/job/report?status=Running&limit=3",
        "/job/report?status=Running&limit=1&continue=a%2Bb",
    ]


def test_list__of_what_has_ended_since_and_has_not_been_told(service: Service) -> None:
    service.reply(Reply(200, [run(Id="a")]))
    since = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    listed = Client(service.url).list_runs("report", finished_since=since, notification=["Undelivered", "GivenUp"])
    assert [one.id for one in listed] == ["a"]
    assert service.calls[0].target == (
        "/job/report?notification=Undelivered&notification=GivenUp"
        "&finishedSince=2026-03-01T13%3A00%3A00%2B01%3A00&limit=500"
    )


def test_names__cannot_lead_to_another_path(service: Service) -> None:
    service.reply(problem(404, "there is no such definition"))
    with pytest.raises(NotFoundError):
        Client(service.url).get("a/../b?x#", "c d")
    assert service.calls[0].target == "/job/a%2F..%2Fb%3Fx%23/c%20d"
    with pytest.raises(ValueError, match="empty"):
        Client(service.url).get("report", "")


def test_logs__that_break_off__are_no_complete_log(service: Service) -> None:
    service.reply(Reply(200, text=b"a line\n", promised=100))
    with pytest.raises(UnreachableError):
        list(Client(service.url).logs("report", "abc"))


def test_token__file__is_read_for_each_request(service: Service, tmp_path: Path) -> None:
    """A ServiceAccount's token is renewed in its file."""
    service.reply(Reply(200, run()))
    file = tmp_path / "token"
    client = Client(service.url, token=token_from_file(file))
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        client.get("report", "abc")
    assert [call.headers["Authorization"] for call in service.calls] == ["Bearer first", "Bearer second"]


def test_token__command__runs_again_when_the_token_is_refused(service: Service, tmp_path: Path) -> None:
    """It prints an ExecCredential, as plugins of kubectl do."""
    counter = tmp_path / "count"
    code = (
        f"import json, pathlib; p = pathlib.Path({str(counter)!r}); n = len(p.read_text()) if p.exists() else 0; "
        "p.write_text('x' * (n + 1)); print(json.dumps({'status': {'token': f't{n}'}}))"
    )
    client = Client(service.url, token=token_from_command([sys.executable, "-c", code]))
    service.reply(Reply(200, run()), Reply(200, run()), problem(401, "expired"), Reply(200, run()))
    for _ in range(3):
        client.get("report", "abc")
    sent = [call.headers["Authorization"] for call in service.calls]
    assert sent == ["Bearer t0", "Bearer t0", "Bearer t0", "Bearer t1"]
    service.reply(problem(401, "expired"))
    with pytest.raises(RefusedError):
        client.get("report", "abc")


@pytest.mark.parametrize("content", ["", "two words", "a\r\nX-Other: 1", "ä"])
def test_token__malformed__is_refused_without_being_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content.encode())
    with pytest.raises(TokenError) as error:
        Client("http://127.0.0.1:1", token=token_from_file(file)).status()
    assert not content or content not in str(error.value)


@pytest.mark.parametrize(
    "command",
    [["/nonexistent/program"], [sys.executable, "-c", "raise SystemExit('secret')"], [sys.executable, "-c", ""]],
)
def test_token__command_that_fails__is_told(command: list[str]) -> None:
    with pytest.raises(TokenError, match="token command"):
        token_from_command(command)()


@pytest.mark.parametrize(
    "url",
    ["slimfaas", "ftp://a", "http://", "http://user:pass@a", "http://a?b", "http://a b", "http://a:99999", "http://[a"],
)
def test_url__that_is_none__is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="server") as error:
        Client(url)
    assert "pass" not in str(error.value).replace("password", "")


def test_proxy__of_the_environment__is_used(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own password, which is not the service's."""
    port = service.server.server_port
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://user:p%40ss@127.0.0.1:{port}")
    service.reply(Reply(200, run()))
    Client("http://slimfaas.example:5000/batch/").get("report", "abc")
    (call,) = service.calls
    assert call.target == "http://slimfaas.example:5000/batch/job/report/abc"
    assert call.headers["Proxy-Authorization"] == "Basic dXNlcjpwQHNz"
    assert call.headers["Host"] == "slimfaas.example:5000"


def test_response__without_end__is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimfaas_jobs.transport.MAX_BODY_BYTES", 1000)
    service.reply(Reply(200, text=b" " * 100_000))
    with pytest.raises(InvalidResponseError):
        Client(service.url).status()


Act = Callable[[Client], object]


@pytest.mark.parametrize(
    "act", [lambda client: client.get("a", "b"), lambda client: client.status(), lambda client: client.dry_run("a")]
)
def test_call__garbage_instead_of_http__is_unreachable(act: Act) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x00\x01 garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UnreachableError):
            act(Client(f"http://127.0.0.1:{listener.getsockname()[1]}", retry_seconds=0))
        thread.join()
