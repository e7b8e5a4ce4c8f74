"""The port of the probes: it answers however many connections callers keep open on the other one."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.callers import Replica
from tests.http.clients import DEFINITIONS
from tests.support.open_files import allow_open_files
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import DISPATCH, Program, ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

CONNECTIONS = 3500
PROBES = 10


class Crowd:
    """Connections that are kept open and send one request after the other, from one thread.

    Attributes:
        answered: how many responses have come.
    """

    def __init__(self, port: int, connections: int) -> None:
        self.answered = 0
        self._stopping = False
        self._request = b"GET /nothing HTTP/1.1\r\nHost: service\r\n\r\n"
        self._selector = selectors.DefaultSelector()
        for _ in range(connections):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            self._selector.register(connection, selectors.EVENT_WRITE)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select(0.1):
                connection: socket.socket = key.fileobj  # type: ignore[assignment] # the sockets from above
                try:
                    if events & selectors.EVENT_WRITE:
                        connection.send(self._request)
                        self._selector.modify(connection, selectors.EVENT_READ)
                    elif connection.recv(65536):
                        self.answered += 1
                        self._selector.modify(connection, selectors.EVENT_WRITE)
                    else:
                        raise ConnectionError
                except OSError:
                    self._selector.unregister(connection)
                    connection.close()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Send requests for as long as the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopping = True
            self._thread.join()
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr] # the sockets from above
            self._selector.close()


@pytest.mark.slow
def test_probe_port__answers_beside_thousands_of_busy_connections(replica: Replica) -> None:
    allow_open_files(CONNECTIONS + 500)
    probe_port = find_free_port()
    with replica(DEFINITIONS["Configurations"], SLIMFAAS_PROBE_PORT=str(probe_port)) as service:
        crowd = Crowd(service.port, CONNECTIONS)
        with crowd.at_work():
            until(lambda: crowd.answered > CONNECTIONS)
            for _ in range(PROBES):
                for path in ("/health", "/ready"):
                    before = crowd.answered
                    response = requests.get(f"http://127.0.0.1:{probe_port}{path}", timeout=DEADLINE_SECONDS)
                    assert response.status_code == 200
                    until(lambda before=before: crowd.answered > before)  # the crowd is still at work


def test_probe_port__serves_only_the_probes_with_any_number_of_workers(replica: Replica) -> None:
    probe_port = find_free_port()
    variables = {"SLIMFAAS_PROBE_PORT": str(probe_port), "WEB_CONCURRENCY": "2"}
    with replica(DEFINITIONS["Configurations"], **variables) as service:
        for _ in range(10):
            statuses = [get(probe_port, path) for path in ("/health", "/ready", "/metrics", "/jobs/status")]
            assert statuses == [200, 200, 404, 404]
            assert [service.get(path).status_code for path in ("/health", "/ready", "/metrics")] == [200, 200, 200]
        assert service.stop() == 0
        assert "Traceback" not in service.log_text


@pytest.mark.slow
def test_dispatcher__serves_the_probe_port_too(server: Server, namespace: str, tmp_path: Path) -> None:
    ports = [find_free_port(), find_free_port()]
    variables = {"PORT": str(ports[0]), "SLIMFAAS_PROBE_PORT": str(ports[1])}
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with Program(DISPATCH, kubeconfig, DEFINITIONS, tmp_path / "log", **variables) as dispatcher:
        until(lambda: get(ports[1], "/ready") == 200)
        assert [get(port, "/metrics") for port in ports] == [200, 404]
        assert dispatcher.stop() == 0


@pytest.mark.slow
def test_start__names_the_listener_that_bind_has_removed(replica: Replica) -> None:
    variables = {"SLIMFAAS_PROBE_PORT": "8081", "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0"}
    service: ServiceProcess = replica(DEFINITIONS["Configurations"], **variables)
    service.launch()
    until(lambda: not service.running)
    assert "no listener for SLIMFAAS_PROBE_PORT" in service.log_text
    assert "Traceback" not in service.log_text


def get(port: int, path: str) -> int:
    """Return the status of a GET; 0: nobody listens."""
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_SECONDS).status_code
    except requests.ConnectionError:
        return 0
