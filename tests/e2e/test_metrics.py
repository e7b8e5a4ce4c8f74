"""Metrics of whole processes: several workers, killed workers, and a stand-alone dispatcher."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.callers import Replica
from tests.http.clients import RawClient
from tests.integration.dispatching import ROOT, until
from tests.support.faults import FaultProxy
from tests.support.metrics import Scrape
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

SLOTS = 12
DEFINITIONS: dict[str, Any] = {
    "fast": {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": SLOTS, "Args": ["true"]},
    "blocked": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]},
    "hidden": {"Image": "busybox:1", "DependsOn": ["nobody"]},
}


def scrape(url: str) -> Scrape:
    # A new connection each time: the kernel gives it to any of the workers.
    return Scrape(requests.get(f"{url}/metrics", timeout=DEADLINE_SECONDS, headers={"Connection": "close"}).text)


def workers_of(service: ServiceProcess) -> list[int]:
    """Return the PIDs of a service's live workers, from its log."""
    lines = [line for line in service.log_text.splitlines() if "Booting worker with pid" in line]
    booted = [int(line.rsplit(" ", 1)[1]) for line in lines]
    return [pid for pid in booted if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"])
def test_several_workers__metrics_are_summed_and_survive_killed_workers(replica: Replica, how: str) -> None:
    """Every worker reports the sum of all; a killed worker leaves neither gauges nor extra files behind."""
    value = "3" if how == "WEB_CONCURRENCY" else "--workers=3"
    with replica(DEFINITIONS, **{how: value}) as service:
        until(lambda: len(workers_of(service)) == 3)
        for _ in range(24):
            session = requests.post(
                f"{service.url}/job/fast", timeout=DEADLINE_SECONDS, headers={"Connection": "close"}
            )
            assert session.status_code == 202
        accepted = {"definition": "fast", "outcome": "accepted"}
        for _ in range(6):
            assert scrape(service.url).value("requests_total", **accepted) == 24
        until(lambda: scrape(service.url).value("queued_seconds_count", definition="fast") == 24)
        assert scrape(service.url).value("dispatcher_leading") == 1
        assert scrape(service.url).value("streams_limit") == 75
        loaded = scrape(service.url).value("configuration_loaded_timestamp_seconds")
        assert loaded > 1_700_000_000

        folder = metrics_folder(service)
        files = len(list(folder.iterdir()))
        for pid in workers_of(service):
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: pid not in workers_of(service))
            until(lambda: len(workers_of(service)) == 3)
        until(lambda: scrape(service.url).value("dispatcher_leading") == 1)
        after = scrape(service.url)
        assert after.value("requests_total", **accepted) == 24
        assert after.value("streams_limit") == 75
        assert after.value("slots", definition="fast") == SLOTS
        assert service.post("/job/fast").status_code == 202
        assert scrape(service.url).value("requests_total", **accepted) == 25
        assert len(list(folder.iterdir())) <= files + 1

        assert service.stop() == 0
        assert not folder.exists()


def metrics_folder(service: ServiceProcess) -> Path:
    """Return the folder in which the workers share their metrics."""
    mapped = Path(f"/proc/{workers_of(service)[0]}/maps").read_text().splitlines()
    (folder,) = {Path(line.split()[-1]).parent for line in mapped if "slimfaas-jobs-metrics" in line}
    return folder


@pytest.mark.slow
def test_several_workers__replace_the_files_of_a_killed_service_with_the_same_process_id(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """In a container, the first process always has the same PID."""
    folder = "/dev/shm/slimfaas-jobs-metrics-$$"
    leave_files = f'mkdir -p {folder} && echo "not metrics" > {folder}/counter_1.db && exec "$@"'
    service = ServiceProcess(
        write_kubeconfig(tmp_path, server, namespace),
        {"Configurations": DEFINITIONS},
        tmp_path / "log",
        prefix=("sh", "-c", leave_files, "sh"),
        WEB_CONCURRENCY="2",
        SLIMFAAS_DISPATCHER="off",
    )
    with service:
        assert metrics_folder(service).name.endswith(f"-{service.pid}")
        until(lambda: scrape(service.url).value("streams_limit") == 50)
        assert service.stop() == 0


@pytest.mark.slow
def test_one_worker__needs_no_files(replica: Replica) -> None:
    """It counts in its own memory, and reports the process metrics."""
    with replica(DEFINITIONS) as service:
        assert service.post("/job/blocked").status_code == 202
        until(lambda: scrape(service.url).value("queued_runs", definition="blocked") == 1)
        found = scrape(service.url)
        assert found.value("slots", definition="fast") == SLOTS
        assert "process_resident_memory_bytes" in found.names
        until(lambda: scrape(service.url).value("oldest_queued_seconds", definition="blocked") > 0)
        assert "slimfaas-jobs-metrics" not in Path(f"/proc/{workers_of(service)[0]}/maps").read_text()


class DispatcherCommand:
    """`slimfaas-jobs dispatcher` as a process.

    Args:
        kubeconfig: the kubeconfig for the API server.
        log: the file for its output.
        environment: further environment variables.
    """

    def __init__(self, kubeconfig: Path, log: Path, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{find_free_port()}"
        self._log = log
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLIMFAAS", "GUNICORN"))},
            "KUBECONFIG": str(kubeconfig),
            "SLIMFAAS_JOBS_CONFIGURATION": json.dumps({"Configurations": DEFINITIONS}),
            "PORT": self.url.rpartition(":")[2],
            **environment,
        }
        command = [sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main(['dispatcher']))"]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=file)

    def get(self, path: str) -> requests.Response | None:
        """Send a GET request; return `None` if nothing listens yet."""
        try:
            return requests.get(self.url + path, timeout=DEADLINE_SECONDS)
        except requests.ConnectionError:
            assert self.process.poll() is None, self._log.read_text()
            return None


@contextmanager
def dispatching(kubeconfig: Path, log: Path, **environment: str) -> Iterator[DispatcherCommand]:
    """Run a stand-alone dispatcher until the end of the context."""
    command = DispatcherCommand(kubeconfig, log, **environment)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait()


def is_ok(response: requests.Response | None) -> bool:
    return response is not None and response.status_code == 200


def test_standalone_dispatcher__serves_probes_and_metrics_only(server: Server, namespace: str, tmp_path: Path) -> None:
    """Other paths are not found, and SIGTERM ends it with exit code 0."""
    with dispatching(write_kubeconfig(tmp_path, server, namespace), tmp_path / "log") as command:
        until(lambda: is_ok(command.get("/ready")))
        assert requests.get(f"{command.url}/health", timeout=DEADLINE_SECONDS).text == "OK\n"
        until(lambda: requests.get(f"{command.url}/ready", timeout=DEADLINE_SECONDS).json()["Dispatcher"] == "leading")
        until(lambda: scrape(command.url).value("slots", definition="fast") == SLOTS)
        assert scrape(command.url).value("streams_limit") == 0  # it serves no clients
        refused = requests.post(f"{command.url}/job/fast", timeout=DEADLINE_SECONDS)
        assert (refused.status_code, refused.headers["Content-Type"]) == (404, "application/problem+json")
        command.process.terminate()
        assert command.process.wait(DEADLINE_SECONDS) == 0


@pytest.mark.slow
def test_standalone_dispatcher__without_api_server__is_alive_and_not_ready(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        proxy.refuse_connections()
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        with dispatching(kubeconfig, tmp_path / "log", SLIMFAAS_LOG_FORMAT="json") as command:
            until(lambda: is_ok(command.get("/health")))
            response = requests.get(f"{command.url}/ready", timeout=DEADLINE_SECONDS)
            assert response.status_code == 503
            lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
            assert "the dispatcher's lease can't be read or written" in " ".join(line["message"] for line in lines)


@pytest.mark.slow
def test_standalone_dispatcher__idle_and_slow_clients__do_not_block_probes(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """Each of them holds a connection slot for a few seconds at most."""
    with dispatching(write_kubeconfig(tmp_path, server, namespace), tmp_path / "log") as command:
        until(lambda: is_ok(command.get("/health")))
        port = int(command.url.rpartition(":")[2])
        clients = [RawClient(port).send(b"GET /health HT" if number % 2 else b"") for number in range(16)]
        try:
            until(lambda: is_ok(command.get("/health")))
        finally:
            for client in clients:
                client.close()
        assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_standalone_dispatcher__port_in_use__exits_with_an_error(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """Otherwise its probes would fail and the kubelet would restart it without a visible reason."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with dispatching(kubeconfig, tmp_path / "one") as first:
        until(lambda: is_ok(first.get("/health")))
        port = first.url.rpartition(":")[2]
        with dispatching(kubeconfig, tmp_path / "two", PORT=port) as second:
            assert second.process.wait(DEADLINE_SECONDS) == 1
            assert f"cannot serve probes and metrics on port {port} (set PORT)" in (tmp_path / "two").read_text()


@pytest.mark.slow
def test_json_log_format__applies_to_every_line(replica: Replica) -> None:
    """From start to stop, including gunicorn's own lines."""
    with replica(DEFINITIONS, SLIMFAAS_LOG_FORMAT="json", SLIMFAAS_LOG_LEVEL="debug") as service:
        service.post("/job/blocked", {"Args": ["a\nb"]})
        service.post("/job/hidden")
        service.get("/job/%0a%00%ff/x\u2028")
        service.stop()
    lines = [json.loads(line) for line in service.log_text.splitlines()]
    assert {"gunicorn.error", "app.api.access_log", "app.dispatcher.election"} <= {line["logger"] for line in lines}
    calls = [line for line in lines if line.get("method") == "POST"]
    assert [(call["status"], call["definition"], call.get("fields")) for call in calls] == [
        (202, "blocked", "Args"),
        (403, "hidden", None),
    ]
    assert all(len(call["request_id"]) == 32 for call in calls)
