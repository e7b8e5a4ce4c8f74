"""What the service shows to an API server, as kubeconfigs say, while files and programs change."""

import base64
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.kube import authentication
from app.kube.credentials import ClusterSettingsError, connect
from app.kube.errors import ForbiddenError, UnavailableError, UnreachableError
from tests.support.certificates import Certificate, make_certificate
from tests.support.recording import RecordingServer, record

PATH = "/api/v1/namespaces/default/pods"
SECRET = "s3cr3t-t0ken"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """Return an authority, an intermediate one, a server's certificate, and a client's."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_certificate(folder, "authority", authority=True)
    intermediate = make_certificate(folder, "intermediate", authority, authority=True)
    return {
        "authority": authority,
        "intermediate": intermediate,
        "server": make_certificate(folder, "server", intermediate),
        "client": make_certificate(folder, "client", authority),
        "other": make_certificate(folder, "other", authority),
    }


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    """Run a server without TLS."""
    with record() as running:
        yield running


@pytest.fixture
def tls_server(certificates: dict[str, Certificate]) -> Iterator[RecordingServer]:
    """Run a server with TLS, which asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates["server"].certificate, certificates["server"].key)
    context.load_verify_locations(certificates["authority"].certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    with record(context) as running:
        yield running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what moves the clocks of credentials forward."""
    moved = [0.0]
    time = authentication.time
    times = type("Times", (), {})()
    times.time, times.monotonic = (lambda: time.time() + moved[0]), (lambda: time.monotonic() + moved[0])
    monkeypatch.setattr(authentication.FileCredential.__init__, "__kwdefaults__", {"clock": times.monotonic})
    monkeypatch.setattr(authentication.RequestedCredential.__init__, "__kwdefaults__", {"clock": times.time})

    def move(seconds: float) -> None:
        moved[0] += seconds

    return move


def write(folder: Path, url: str, user: dict[str, Any], **cluster: Any) -> str:
    path = folder / "kubeconfig"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "here"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document), "utf-8")
    return str(path)


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def write_plugin(folder: Path, **status: Any) -> dict[str, Any]:
    """Write a program that prints `status`, and notes its runs; returns the user's `exec`."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (folder / "answer.json").write_text(json.dumps(answer), "utf-8")
    (folder / "runs").touch()
    plugin = folder / "plugin"
    if not plugin.exists():
        plugin.write_text(
            f"#!/bin/sh\ncd {folder}\nwhile [ -e hang ]; do sleep 0.05; done\necho run >> runs\ncat answer.json\n"
        )
        plugin.chmod(0o700)
    return {"exec": {"apiVersion": answer["apiVersion"], "command": "./plugin"}}


def runs_of_plugin(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def call(transport: Any, **options: Any) -> None:
    transport.call("GET", PATH, **options)


def test_inline_certificates__survive_the_end_of_another_process(
    tmp_path: Path, tls_server: RecordingServer, certificates: dict[str, Certificate]
) -> None:
    """The first of several forked processes that ends removes the temporary files of the client library."""
    client = certificates["client"]
    user = {"client-certificate-data": data(client.certificate), "client-key-data": data(client.key)}
    authority = data(certificates["intermediate"].certificate)
    calls = connect(write(tmp_path, tls_server.url, user, **{"certificate-authority-data": authority}), None)
    from kubernetes.config import kube_config

    kube_config._cleanup_temp_files()
    call(calls)
    assert tls_server.common_names == ["client"]
    assert calls.namespace == "here"


def test_certificate_authority__may_be_an_intermediate_one(
    tmp_path: Path, tls_server: RecordingServer, certificates: dict[str, Certificate]
) -> None:
    """https://github.com/kubernetes-client/python/issues/1767: kubectl accepts it."""
    path = str(certificates["intermediate"].certificate)
    call(connect(write(tmp_path, tls_server.url, {}, **{"certificate-authority": path}), None))
    assert len(tls_server.requests) == 1


def test_certificate_authority__that_was_replaced_counts_for_new_connections(
    tmp_path: Path,
    tls_server: RecordingServer,
    certificates: dict[str, Certificate],
    clock: Callable[[float], None],
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificates["client"].certificate.read_bytes())
    calls = connect(write(tmp_path, tls_server.url, {}, **{"certificate-authority": "ca.pem"}), None)
    with pytest.raises(UnreachableError, match="certificate"):
        call(calls)
    authority.write_bytes(certificates["intermediate"].certificate.read_bytes())
    clock(61)
    call(calls)


def test_call__without_a_connection_says_that_nothing_was_sent(
    tmp_path: Path, tls_server: RecordingServer, certificates: dict[str, Certificate]
) -> None:
    """Neither a server that is not trusted, nor a missing server or proxy, can have stored anything."""
    other = data(certificates["other"].certificate)
    with pytest.raises(UnreachableError) as untrusted:
        call(connect(write(tmp_path, tls_server.url, {}, **{"certificate-authority-data": other}), None))
    assert not untrusted.value.outcome_unknown
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnreachableError):
            call(connect(write(tmp_path, f"https://{nowhere}", {}), None))
        for target in ("http://192.0.2.1", "https://192.0.2.1"):
            with pytest.raises(UnreachableError):
                call(connect(write(tmp_path, target, {}, **{"proxy-url": f"http://{nowhere}"}), None))


def test_call__whose_connection_breaks_after_sending_is_in_doubt(tmp_path: Path) -> None:
    """The server may have carried the request out before it closed the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def read_and_close() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=read_and_close)
        thread.start()
        with pytest.raises(UnavailableError):
            call(connect(write(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", {}), None))
        thread.join()


def test_token_file__may_end_with_a_line_break(tmp_path: Path, server: RecordingServer) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\r\n")
    call(connect(write(tmp_path, server.url, {"tokenFile": "token", "token": "not this"}), None))
    assert server.tokens == [f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    "user",
    [
        {"token": f"{SECRET}\nsecond-line"},
        {"token": f"{SECRET}-é"},
        {"tokenFile": "token"},
        {"tokenFile": "missing"},
        {"as": f"{SECRET}\nHost: x"},
        {"as-groups": [SECRET]},
        {"client-certificate-data": base64.b64encode(SECRET.encode()).decode(), "client-key-data": "a2V5"},
        {"client-certificate-data": "A"},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-program"}},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Always"}},
    ],
    ids=lambda user: next(iter(user)),
)
def test_connect__refuses_what_cannot_be_sent_in_one_line(tmp_path: Path, user: dict[str, Any]) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\x00")
    with pytest.raises(ClusterSettingsError) as refused:
        connect(write(tmp_path, "https://localhost:1", user), None)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_token_file__is_read_again_after_a_minute(
    tmp_path: Path, server: RecordingServer, clock: Callable[[float], None]
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    calls = connect(write(tmp_path, server.url, {"tokenFile": "token"}), None)
    call(calls)
    token.write_text("second")
    call(calls)
    clock(61)
    call(calls)
    token.unlink()  # as in the moment in which it is replaced
    clock(61)
    call(calls)
    assert server.tokens == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


def test_token_file__is_read_again_at_once_when_the_token_is_refused(tmp_path: Path, server: RecordingServer) -> None:
    (tmp_path / "token").write_text("first")
    calls = connect(write(tmp_path, server.url, {"tokenFile": "token"}), None)
    (tmp_path / "token").write_text("second")
    server.status = lambda headers: 200 if headers["Authorization"] == "Bearer second" else 401
    call(calls)
    assert server.tokens == ["Bearer first", "Bearer second"]
    server.status = lambda _: 401
    with pytest.raises(ForbiddenError):
        call(calls)
    assert len(server.tokens) == 3  # the file has the same token: nothing is sent again


def test_exec__renews_a_token_near_its_end(
    tmp_path: Path, server: RecordingServer, clock: Callable[[float], None]
) -> None:
    calls = connect(
        write(tmp_path, server.url, write_plugin(tmp_path, token="first", expirationTimestamp="2099-01-01T00:00:00Z")),
        None,
    )
    assert runs_of_plugin(tmp_path) == 0  # no process is started before the workers are forked
    call(calls)
    call(calls)
    assert runs_of_plugin(tmp_path) == 1
    write_plugin(tmp_path, token="second")
    clock(200 * 365 * 24 * 3600.0)
    call(calls)
    assert server.tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_exec__runs_again_at_once_when_its_certificate_is_refused(
    tmp_path: Path, tls_server: RecordingServer, certificates: dict[str, Certificate]
) -> None:
    """The new certificate needs a new connection."""

    def show(name: str) -> dict[str, Any]:
        made = certificates[name]
        return write_plugin(
            tmp_path, clientCertificateData=made.certificate.read_text(), clientKeyData=made.key.read_text()
        )

    authority = data(certificates["intermediate"].certificate)
    kubeconfig = write(tmp_path, tls_server.url, show("client"), **{"certificate-authority-data": authority})
    calls = connect(kubeconfig, None)
    call(calls)
    show("other")
    tls_server.status = lambda _: 200 if tls_server.common_names[-1] == "other" else 401
    with pytest.raises(ForbiddenError):  # it has run just now: it is not run for each refusal
        call(calls)
    calls._sender._source._asked_at -= 60  # type: ignore[attr-defined] # a minute later
    call(calls)
    assert tls_server.common_names == ["client", "client", "client", "other"]
    assert tls_server.connections == 2


def test_exec__that_hangs_holds_no_call_beyond_its_deadline(tmp_path: Path, server: RecordingServer) -> None:
    """Once it has ended, calls succeed: it was started once for all of them."""
    calls = connect(write(tmp_path, server.url, write_plugin(tmp_path, token="late")), None)
    (tmp_path / "hang").touch()
    try:
        for _ in range(2):
            with pytest.raises(UnreachableError, match="in time"):
                call(calls, whole_seconds=0.1)
    finally:
        (tmp_path / "hang").unlink()
    call(calls)
    assert runs_of_plugin(tmp_path) == 1
    assert server.tokens == ["Bearer late"]


@pytest.mark.parametrize("output", ["", "[]", f'{{"token": "{SECRET}"}}', '{"kind": "ExecCredential", "status": 1}'])
def test_exec__that_prints_something_else_is_named(tmp_path: Path, server: RecordingServer, output: str) -> None:
    calls = connect(write(tmp_path, server.url, write_plugin(tmp_path, token="x")), None)
    (tmp_path / "answer.json").write_text(output)
    with pytest.raises(UnreachableError, match="credential plugin") as error:
        call(calls)
    assert SECRET not in str(error.value)


def test_exec__is_told_of_the_cluster(tmp_path: Path, server: RecordingServer) -> None:
    user = write_plugin(tmp_path, token="x")
    (tmp_path / "plugin").write_text(
        f'#!/bin/sh\ncd {tmp_path}\necho "$KUBERNETES_EXEC_INFO$MORE" > info\ncat answer.json\n'
    )
    user["exec"] |= {"provideClusterInfo": True, "env": [{"name": "MORE", "value": "!"}]}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    call(connect(write(tmp_path, server.url, user, extensions=[extension]), None))
    info, end, _ = (tmp_path / "info").read_text().partition("!")
    assert end
    assert json.loads(info)["spec"] == {
        "interactive": False,
        "cluster": {"server": server.url, "config": {"audience": "a"}},
    }


def test_impersonation__is_sent_with_every_request(tmp_path: Path, server: RecordingServer) -> None:
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["developers", "admins"],
        "as-user-extra": {"Example.com/scope": ["a", "b"]},
    }
    calls = connect(write(tmp_path, server.url, user), None)
    call(calls)
    calls.call("POST", PATH, body={})
    for _, headers in server.requests:
        assert headers.get_all("Impersonate-User") == ["jane"]
        assert headers.get_all("Impersonate-Uid") == ["7"]
        assert headers.get_all("Impersonate-Group") == ["developers", "admins"]
        assert headers.get_all("Impersonate-Extra-Example.com%2Fscope") == ["a", "b"]
    assert server.requests[1][1]["Content-Type"] == "application/json"


def test_proxy__of_the_environment_is_not_used_for_this_machine(
    tmp_path: Path, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    call(connect(write(tmp_path, server.url, {}), None))
    call(connect(write(tmp_path, server.url.replace("127.0.0.1", "localhost"), {}), None))
    assert len(server.requests) == 2


def test_proxy__for_http_is_sent_whole_urls_and_all_headers(tmp_path: Path, server: RecordingServer) -> None:
    user = {"as": "jane", "as-groups": ["a", "b"]}
    call(connect(write(tmp_path, "http://api.example:8080/prefix", user, **{"proxy-url": server.url}), None))
    [(line, headers)] = server.requests
    assert line == f"GET http://api.example:8080/prefix{PATH} HTTP/1.1"
    assert headers["Host"] == "api.example:8080"
    assert headers.get_all("Impersonate-Group") == ["a", "b"]


@pytest.mark.parametrize("proxy", ["ftp://proxy", "proxy:3128", f"//user:{SECRET}@proxy"])
def test_proxy__of_an_unknown_kind_is_refused_in_one_line(tmp_path: Path, proxy: str) -> None:
    with pytest.raises(ClusterSettingsError, match="the proxy's URL must begin with") as refused:
        connect(write(tmp_path, "http://api.example", {}, **{"proxy-url": proxy}), None)
    assert SECRET not in str(refused.value)


def test_socks_proxy__without_the_extra_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(ClusterSettingsError, match=r"slimfaas-jobs\[socks\]"):
        connect(write(tmp_path, "http://api.example", {}, **{"proxy-url": "socks5://127.0.0.1:9"}), None)


def serve_socks(listener: socket.socket, target: tuple[str, int], asked: list[bytes]) -> None:
    """Serve one connection of SOCKS 5 (RFC 1928), and lead it to `target` whatever it asks for."""
    client, _ = listener.accept()
    with client, socket.create_connection(target) as server:
        methods = client.recv(2)[1]
        client.recv(methods)
        client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        assert kind == 3  # a name: the proxy looks it up
        asked.append(client.recv(client.recv(1)[0]))
        client.recv(2)
        client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):  # the other side has closed it
                while content := source.recv(65536):
                    sink.sendall(content)

        back = threading.Thread(target=pump, args=(server, client))
        back.start()
        pump(client, server)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        back.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_socks_proxy__is_used(
    tmp_path: Path,
    server: RecordingServer,
    tls_server: RecordingServer,
    certificates: dict[str, Certificate],
    scheme: str,
) -> None:
    """The connections through it have deadlines as all others have."""
    pytest.importorskip("socks", reason="the extra socks is not installed")
    target = server if scheme == "http" else tls_server
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(target.url.rpartition(":")[2])
        thread = threading.Thread(target=serve_socks, args=(listener, ("127.0.0.1", port), asked))
        thread.start()
        cluster = {
            "proxy-url": f"socks5://127.0.0.1:{listener.getsockname()[1]}",
            "certificate-authority-data": data(certificates["intermediate"].certificate),
            "tls-server-name": "localhost",
        }
        calls = connect(write(tmp_path, f"{scheme}://api.example:8443", {"token": "t"}, **cluster), None)
        call(calls)
        del calls
        thread.join()
    assert asked == [b"api.example"]
    assert target.tokens == ["Bearer t"]
