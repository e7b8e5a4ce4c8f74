"""The service as a process: gunicorn with the project's own configuration, as it runs in a pod."""

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
"""The command of the dispatcher alone."""


PATIENT = {"GUNICORN_CMD_ARGS": "--graceful-timeout 3600"}
"""Variables of a service that is ended by nobody but itself, so that a stop which waits for too much never ends."""


class Program:
    """One program of the service in a session of its own, so that all of its processes can be killed at once.

    Args:
        command: what to run.
        kubeconfig: how it reaches the API server.
        configuration: its job configuration.
        log: where its output goes.
        environment: further variables.
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
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it; returns before it is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=_ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """End all of its processes at once, without a chance to tidy up; its first one may have ended already."""
        assert self._process is not None
        self.send_signal(signal.SIGKILL, whole=True)
        self._process.wait()

    def stop(self) -> int:
        """Stop it as Kubernetes does; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(DEADLINE_SECONDS)

    def send_signal(self, number: signal.Signals, *, whole: bool = False) -> None:
        """Send its first process, or all of them, a signal; one that has ended is left alone."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(self._process.pid, number)

    @property
    def pid(self) -> int:
        """Its first process's number, also after that has ended."""
        assert self._process is not None
        return self._process.pid

    @property
    def log_text(self) -> str:
        """All that it has written so far."""
        return self._log.read_text("utf-8")

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
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
        kubeconfig: how it reaches the API server.
        configuration: its job configuration.
        log: where its output goes.
        prefix: a command that starts the service's, in the same process.
        environment: further variables.
    """

    def __init__(
        self,
        kubeconfig: Path,
        configuration: dict[str, Any],
        log: Path,
        *,
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {"PORT": str(self.port), **environment}
        command = [*prefix, sys.executable, "-m", "gunicorn", "wsgi:app"]
        super().__init__(command, kubeconfig, configuration, log, **environment)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._is_ready():
            assert self.running, f"the service ended:\n{self.log_text}"
            assert time.monotonic() < deadline, f"the service is not ready:\n{self.log_text}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=DEADLINE_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def post(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """Call it with POST."""
        data = None if body is None else json.dumps(body)
        return requests.post(self.url + path, data=data, timeout=DEADLINE_SECONDS)

    def get(self, path: str) -> requests.Response:
        """Call it with GET."""
        return requests.get(self.url + path, timeout=DEADLINE_SECONDS)

    def delete(self, path: str) -> requests.Response:
        """Call it with DELETE."""
        return requests.delete(self.url + path, timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self


@contextmanager
def replicas(*services: ServiceProcess) -> Iterator[None]:
    """Start several, and kill what is left of them in the end."""
    try:
        for service in services:
            service.start()
        yield
    finally:
        for service in services:
            if service.running:
                service.kill()
