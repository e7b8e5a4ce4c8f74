"""Sending to real receivers on loopback: addresses, TLS, secrets, deadlines, redirects."""

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from app.notifications import sender as module
from app.notifications.event import EventRequest
from app.notifications.sender import DeliveryError, NotificationSender, SenderSettings
from schemas.notify import Notify
from tests.support.certificates import Certificate, make_certificate
from tests.support.receivers import Receiver, Reply
from tests.support.waiting import DEADLINE_SECONDS

BODY = b'{"data":1}'
EVENT = EventRequest("uid-ended", {"Content-Type": "application/cloudevents+json"}, BODY)
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("authority"), "authority", authority=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, authority: Certificate) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("receiver"), "receiver", authority)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


def make_sender(folder: Path, *, api_host: str = "", **options: Any) -> NotificationSender:
    settings = {"allowed_networks": (ip_network("127.0.0.0/8"),), "secrets_folder": folder, "seconds": 60.0}
    return NotificationSender(SenderSettings(**{**settings, **options}), api_host)


def notify(url: str, secret: tuple[str, str] | None = None) -> Notify:
    return Notify(url, frozenset({"succeeded"}), secret)


def failure(sender: NotificationSender, target: Notify) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        sender.send(target, EVENT)
    return raised.value


def test_send__posts_the_body_with_its_signature(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "fib").write_text(SECRET + "\n")
    make_sender(tmp_path).send(notify(receiver.url_by_name, ("hooks", "fib")), EVENT)
    [got] = receiver.received
    assert got.path == "/ends?a=1"
    assert got.body == BODY
    assert got.headers["host"].startswith("localhost:")
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert Webhook(SECRET).verify(got.body, dict(got.headers)) == {"data": 1}


@pytest.mark.parametrize("content", [None, "", "whsec_###", "x" * 5000])
def test_send__without_its_secret__sends_nothing(receiver: Receiver, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "hooks").mkdir()
        (tmp_path / "hooks" / "fib").write_text(content)
    error = failure(make_sender(tmp_path), notify(receiver.url, ("hooks", "fib")))
    assert "secret" in str(error)
    assert "###" not in str(error)
    assert receiver.received == []


@pytest.mark.parametrize(
    ("reply", "status", "seconds"),
    [
        (Reply(500), 500, 0),
        (Reply(404), 404, 0),
        (Reply(429, {"Retry-After": "120"}), 429, 120),
        (Reply(503, {"Retry-After": "9999999"}), 503, 3600),
        (Reply(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 503, 0),
        (Reply(503, {"Retry-After": "soon"}), 503, 0),
        (Reply(302, {"Location": "http://127.0.0.1:1/"}), 302, 0),
        (Reply(307, {"Location": "/ends"}), 307, 0),
    ],
)
def test_send__to_a_receiver_that_does_not_accept(
    receiver: Receiver, tmp_path: Path, reply: Reply, status: int, seconds: int
) -> None:
    receiver.answer = lambda _: reply
    error = failure(make_sender(tmp_path), notify(receiver.url))
    assert (error.status, error.retry_after_seconds) == (status, seconds)
    assert len(receiver.received) == 1


def test_send__to_an_address_that_is_refused__connects_to_nothing(receiver: Receiver, tmp_path: Path) -> None:
    sender = make_sender(tmp_path, allowed_networks=())
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
        error = failure(sender, notify(receiver.url.replace("127.0.0.1", host)))
        assert "a loopback address" in str(error), host
    assert receiver.received == []


def test_send__to_the_api_server__is_refused(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_look_up", lambda _host, port: [(socket.AF_INET, ("192.0.2.7", port))])
    error = failure(make_sender(tmp_path, api_host="kubernetes.default"), notify("http://hooks.example/"))
    assert "the API server's address" in str(error)


def test_send__resolves_a_name_once(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that points elsewhere a moment later leads nowhere else."""
    asked: list[str] = []
    port = int(receiver.url.split(":")[2].split("/")[0])

    def resolve(host: str, *_args: Any, **_options: Any) -> list[Any]:
        asked.append(host)
        found = "127.0.0.1" if asked.count(host) == 1 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    make_sender(tmp_path).send(notify(f"http://hooks.example:{port}/"), EVENT)
    assert asked == ["hooks.example"]
    assert receiver.received[0].headers["host"] == f"hooks.example:{port}"


def test_send__goes_on_to_the_next_address(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    found = [(socket.AF_INET, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(module, "_look_up", lambda _host, _port: found)
    make_sender(tmp_path).send(notify(f"http://hooks.example:{port}/"), EVENT)
    assert len(receiver.received) == 1


def test_send__to_a_name_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    assert "Name or service not known" in str(failure(make_sender(tmp_path), notify("http://hooks.example/")))


def test_send__by_tls__checks_the_certificate_for_the_name(
    certificate: Certificate, authority: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver(certificate=certificate) as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        trusting = make_sender(tmp_path, ca_file=authority.certificate)
        trusting.send(notify(receiver.url_by_name), EVENT)
        trusting.send(notify(receiver.url), EVENT)
        assert "not trusted" in str(failure(make_sender(tmp_path), notify(receiver.url_by_name)))
        monkeypatch.setattr(module, "_look_up", lambda _host, _port: [(socket.AF_INET, ("127.0.0.1", port))])
        assert "not trusted" in str(failure(trusting, notify(f"https://hooks.example:{port}/")))
        assert len(receiver.received) == 2


def test_send__reads_the_authorities_again_when_their_file_has_changed(
    certificate: Certificate, authority: Certificate, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    with Receiver(certificate=certificate) as receiver:
        sender = make_sender(tmp_path, ca_file=file)
        assert "SLIMFAAS_NOTIFY_CA_FILE" in str(failure(sender, notify(receiver.url)))
        file.write_text("nonsense")
        assert "SLIMFAAS_NOTIFY_CA_FILE" in str(failure(sender, notify(receiver.url)))
        file.write_bytes(authority.certificate.read_bytes())
        sender.send(notify(receiver.url), EVENT)


def test_send__gives_up_at_its_deadline(tmp_path: Path) -> None:
    """Whether the receiver says nothing, or one byte now and then."""
    with Receiver(lambda _: Reply(hangs=True)) as receiver:
        error = failure(make_sender(tmp_path, seconds=0.3), notify(receiver.url))
        assert "has not answered within" in str(error)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_SECONDS)

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not done.wait(0.01):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            error = failure(make_sender(tmp_path, seconds=0.3), notify(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        finally:
            done.set()
            thread.join()
    assert error.status is None


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: a\r\n" * 90 + b"X-Long: " + b"a" * 40_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
)
def test_send__to_a_receiver_that_floods__reads_a_bounded_head(tmp_path: Path, flood: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(flood)

        thread = threading.Thread(target=answer)
        thread.start()
        error = failure(make_sender(tmp_path), notify(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        thread.join()
    assert "a head of more than" in str(error)


def test_send__to_something_else_than_http(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = failure(make_sender(tmp_path), notify(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        thread.join()
    assert "can't be reached: BadStatusLine" in str(error)
