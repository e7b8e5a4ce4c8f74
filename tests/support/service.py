"""Run the service as processes: gunicorn with the project's own configuration, as in a pod."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS

_ROOT = Path(__file__).resolve().parents[2]

DISPATCH = (str(Path(sys.executable).with_name("slimfaas-jobs")), "dispatcher")
"""The command of the stand-alone dispatcher."""

LONG_GRACEFUL_TIMEOUT = {"GUNICORN_CMD_ARGS": "--graceful-timeout 3600"}
"""Environment of a service whose workers gunicorn does not kill, so that a shutdown that waits too long is noticed."""


class Program:
    """One program of the service, in its own session, so that all of its processes can be killed at once.

    Args:
        command: the command to run.
        kubeconfig: the kubeconfig for the API server.
        configuration: the job configuration.
        log: the file for its output.
        environment: further environment variables.
    """

    def __init__(
        self, command: Sequence[str], kubeconfig: Path, configuration: dict[str, Any], log: Path, **environment: str
    ) -> None:
        self._command = command
        self._log = log
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLIMFAAS", "GUNICORN"))},
            "KUBECONFIG": str(kubeconfig),
            "SLIMFAAS_JOBS_CONFIGURATION": json.dumps(configuration),
            "SLIMFAAS_PUBLIC_LISTING": "true",  # the tests' own requests come from loopback, which is not trusted
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the program, without waiting until it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=_ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill all of its processes with SIGKILL; the first one may have ended already."""
        assert self._process is not None
        self.send_signal(signal.SIGKILL, whole=True)
        self._process.wait()

    def stop(self) -> int:
        """Stop it with SIGTERM, as Kubernetes does, and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(DEADLINE_SECONDS)

    def send_signal(self, number: signal.Signals, *, whole: bool = False) -> None:
        """Send a signal to its first process, or to all of them; a process that has ended is ignored."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(self._process.pid, number)

    @property
    def pid(self) -> int:
        """The PID of its first process, also after that has ended."""
        assert self._process is not None
        return self._process.pid

    @property
    def log_text(self) -> str:
        """Its output so far."""
        return self._log.read_text("utf-8")

    @property
    def running(self) -> bool:
        """Whether its first process is running."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()


class ServiceProcess(Program):
    """One replica of the service.

    Args:
        kubeconfig: the kubeconfig for the API server.
        configuration: the job configuration.
        log: the file for its output.
        prefix: a command that executes the service's command in the same process.
        address: the address that it listens on; empty: every one.
        environment: further environment variables.
    """

    def __init__(
        self,
        kubeconfig: Path,
        configuration: dict[str, Any],
        log: Path,
        *,
        prefix: Sequence[str] = (),
        address: str = "",
        **environment: str,
    ) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {"PORT": str(self.port), **environment}
        if address:
            environment["GUNICORN_CMD_ARGS"] = f"--bind {address}:{self.port}"
        command = [*prefix, sys.executable, "-m", "gunicorn", "wsgi:app"]
        super().__init__(command, kubeconfig, configuration, log, **environment)

    def start(self) -> None:
        """Start the replica, and wait until it is ready."""
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until `/ready` returns 200."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._is_ready():
            assert self.running, f"the service exited:\n{self.log_text}"
            assert time.monotonic() < deadline, f"the service is not ready:\n{self.log_text}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=DEADLINE_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def post(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """Send a POST request."""
        data = None if body is None else json.dumps(body)
        return requests.post(self.url + path, data=data, timeout=DEADLINE_SECONDS)

    def get(self, path: str) -> requests.Response:
        """Send a GET request."""
        return requests.get(self.url + path, timeout=DEADLINE_SECONDS)

    def delete(self, path: str) -> requests.Response:
        """Send a DELETE request."""
        return requests.delete(self.url + path, timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self


@contextmanager
def replicas(*services: ServiceProcess) -> Iterator[None]:
    """Start several replicas, and kill the remaining ones at the end."""
    try:
        for service in services:
            service.start()
        yield
    finally:
        for service in services:
            if service.running:
                service.kill()
