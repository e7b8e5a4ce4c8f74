"""The embedded cluster and the service as processes of this machine, which end with who started them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import requests
import yaml
from kubernetes import client, config

NAMESPACE = "slimfaas-demo"
DEADLINE_SECONDS = 120.0
_ROOT = Path(__file__).resolve().parent.parent
_MANIFESTS = _ROOT / "k8s" / "overlays" / "demo"
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 25.0
"""How long a process may take to stop: longer than the service waits for calls that are under way."""


HTTP = requests.Session()
"""For the service, which is on this machine: a proxy of the environment would not find it."""
HTTP.trust_env = False


class DemoError(Exception):
    """Something doesn't work as it should; the message says what."""


def end_with_starter() -> None:
    """Raise KeyboardInterrupt in the main thread on SIGINT, SIGTERM and SIGHUP, and when who started us has gone.

    A shell that is killed, or that started us in the background, ends without a signal to us. Under `nohup`, which
    ignores SIGHUP, a process outlives its terminal, as it is meant to.
    """
    outlives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [signal.SIGINT, signal.SIGTERM, *([] if outlives_terminal else [signal.SIGHUP])]

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:  # a second signal must not disturb the end that the first one began
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    if not outlives_terminal:
        threading.Thread(target=_await_end_of_starter, args=(os.getppid(), os.getsid(0)), daemon=True).start()


def _await_end_of_starter(parent: int, session_leader: int) -> None:
    while os.getppid() == parent and _exists(session_leader):
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process
    return True


class Processes:
    """The embedded cluster and the service; a context, at whose end both have ended.

    Attributes:
        folder: for files, gone at the end.
    """

    def __enter__(self) -> Self:
        """Make the folder."""
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="slimfaas-jobs-")))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_cluster(self, images: Path | None = None) -> Path:
        """Start the embedded cluster.

        Args:
            images: a table of further images, see `devcluster.node.images`.

        Returns:
            Its kubeconfig.
        """
        kubeconfig = self.folder / "kubeconfig"
        command = [sys.executable, "-m", "devcluster", "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE]
        self._start("the embedded cluster", [*command, *(["--images", str(images)] if images else [])], {})
        self._wait_until(kubeconfig.exists, "the embedded cluster")
        return kubeconfig

    def start_service(self, kubeconfig: Path, port: int, jobs: Path) -> str:
        """Start the service, on the loopback network.

        Args:
            kubeconfig: of the cluster.
            port: to listen on.
            jobs: its definitions; the service follows changes of this file.

        Returns:
            Its URL.
        """
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "PORT": str(port),
            "SLIMFAAS_JOBS_CONFIGURATION_FILE": str(jobs),
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
            "SLIMFAAS_LOG_LEVEL": "warning",
            "SLIMFAAS_PUBLIC_LISTING": "true",  # whoever reaches this port may see everything
        }
        self._start("the service", [str(Path(sys.executable).with_name("slimfaas-jobs")), "serve"], environment)
        url = f"http://127.0.0.1:{port}"
        self._wait_until(lambda: _is_ready(url), "the service")
        return url

    def check(self) -> None:
        """Raise DemoError if one of the processes has ended."""
        for what, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"{what} ended with exit code {process.returncode}")

    def _start(self, what: str, command: list[str], environment: dict[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "SLIMFAAS_JOBS_CONFIGURATION"}
        # In a session of its own: Ctrl-C reaches this process alone, which ends the others in order.
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            command, cwd=_ROOT, env={**inherited, **environment}, start_new_session=True
        )
        self._stack.callback(_stop, process)
        self._running[what] = process

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not start within {DEADLINE_SECONDS:.0f} s")
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return HTTP.get(f"{url}/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def write_demo_jobs(folder: Path, *, every_minute: bool = False) -> Path:
    """Write the demo's definitions, those of its ConfigMap, to a file; returns its path.

    Args:
        folder: for the file.
        every_minute: whether a schedule starts a run every minute.
    """
    config_map = yaml.safe_load(_read_manifest("configmap.yaml"))
    jobs = json.loads(config_map["data"]["SLIMFAAS_JOBS_CONFIGURATION"])
    if every_minute:
        jobs["Schedules"] = {"fibonacci": [{"Schedule": "* * * * *", "Args": ["20"]}]}
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs, indent=2), "utf-8")
    return path


def _read_manifest(name: str) -> str:
    try:
        return (_MANIFESTS / name).read_text("utf-8")
    except FileNotFoundError as error:
        raise DemoError(f"{_MANIFESTS / name} is missing: the demo runs in a clone of the repository only") from error


def create_demo_dependency(kubeconfig: Path) -> None:
    """Create the Deployment that the demo's job depends on."""
    deployment = yaml.safe_load(_read_manifest("fibonacci1.yaml"))
    with connect(kubeconfig) as api:
        client.AppsV1Api(api).create_namespaced_deployment(NAMESPACE, deployment)
    print("created the Deployment fibonacci1; it will be ready in a few seconds", flush=True)


def connect(kubeconfig: Path) -> client.ApiClient:
    """Make a client of the cluster, which is on this machine."""
    configuration = client.Configuration()
    load: Callable[..., None] = config.load_kube_config
    load(config_file=str(kubeconfig), client_configuration=configuration)
    configuration.proxy = None
    return client.ApiClient(configuration)


def find_free_port() -> int:
    """A port of the loopback network that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
