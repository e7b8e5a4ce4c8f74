"""The service as a process: gunicorn with the project's own configuration, as it runs in a pod."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.ports import find_free_port

_ROOT = Path(__file__).resolve().parent.parent
_DEADLINE_SECONDS = 30.0


class ServiceProcess:
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
        self._log = log
        self._prefix = prefix
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLIMFAAS", "GUNICORN"))},
            "KUBECONFIG": str(kubeconfig),
            "SLIMFAAS_JOBS_CONFIGURATION": json.dumps(configuration),
            "PORT": str(self.port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("ab") as log:
            # In a session of its own, so that all of its processes can be killed at once.
            self._process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "gunicorn", "wsgi:app"],
                cwd=_ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, f"the service ended:\n{self.log_text}"
            assert time.monotonic() < deadline, f"the service is not ready:\n{self.log_text}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def post(self, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """Call it with POST."""
        data = None if body is None else json.dumps(body)
        return requests.post(self.url + path, data=data, timeout=20)

    def get(self, path: str) -> requests.Response:
        """Call it with GET."""
        return requests.get(self.url + path, timeout=20)

    def delete(self, path: str) -> requests.Response:
        """Call it with DELETE."""
        return requests.delete(self.url + path, timeout=20)

    def kill(self) -> None:
        """End all of its processes at once, without a chance to tidy up."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Stop it as Kubernetes does; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(_DEADLINE_SECONDS)

    @property
    def log_text(self) -> str:
        """All that it has written so far."""
        return self._log.read_text("utf-8")

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> "ServiceProcess":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()


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
