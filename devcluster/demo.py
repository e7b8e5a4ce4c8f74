"""`make demo` and `make dev`: the embedded cluster and the service on this machine, and one job run through them.

Everything is as in a real cluster but smaller: the service is gunicorn with its own configuration file, it talks to an
API server through the official client, and the job's output comes from a process that has run.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import yaml
from kubernetes import client, config

_ROOT = Path(__file__).resolve().parent.parent
_MANIFESTS = _ROOT / "k8s" / "overlays" / "demo"
_NAMESPACE = "slimfaas-demo"
_DEV_PORT = 30021
_DEADLINE_SECONDS = 60.0
_ARGUMENT, _EXPECTED = "42", "267914296"


class DemoError(Exception):
    """The demo did not show what it should."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 only if the job's output was seen."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.demo", description=main.__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    keep: bool = parser.parse_args(arguments).keep
    # A terminated demo ends what it started, as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as stack:
            port = _dev_port() if keep else _free_port()
            kubeconfig = start_cluster(stack)
            load_dependency(kubeconfig)
            url = start_service(stack, kubeconfig, port)
            run_job(url, kubeconfig)
            if keep:
                _invite(url, kubeconfig)
                signal.pause()
    except KeyboardInterrupt:
        return 0 if keep else 130
    except (DemoError, requests.RequestException) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def start_cluster(stack: contextlib.ExitStack) -> Path:
    """Start the embedded cluster until the stack is left; returns its kubeconfig."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimfaas-jobs-")))
    kubeconfig = folder / "kubeconfig"
    command = [sys.executable, "-m", "devcluster", "--kubeconfig", str(kubeconfig), "--namespace", _NAMESPACE]
    process = stack.enter_context(_running(command, {}))
    _wait_until(kubeconfig.exists, process, "the embedded cluster")
    print(f"the embedded cluster serves; its kubeconfig is {kubeconfig}", flush=True)
    return kubeconfig


def load_dependency(kubeconfig: Path) -> None:
    """Create the Deployment that the demo's job depends on."""
    deployment = yaml.safe_load((_MANIFESTS / "fibonacci1.yaml").read_text("utf-8"))
    with _connect(kubeconfig) as api:
        client.AppsV1Api(api).create_namespaced_deployment(_NAMESPACE, deployment)
    print("created the Deployment fibonacci1; it will be ready in a few seconds", flush=True)


def start_service(stack: contextlib.ExitStack, kubeconfig: Path, port: int) -> str:
    """Start the service under gunicorn until the stack is left; returns its URL."""
    config_map = yaml.safe_load((_MANIFESTS / "configmap.yaml").read_text("utf-8"))
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "PORT": str(port),
        "SLIMFAAS_JOBS_CONFIGURATION": config_map["data"]["SLIMFAAS_JOBS_CONFIGURATION"],
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
        "SLIMFAAS_LOG_LEVEL": "warning",
    }
    process = stack.enter_context(_running([sys.executable, "-m", "gunicorn", "wsgi:app"], environment))
    url = f"http://127.0.0.1:{port}"
    _wait_until(lambda: _is_ready(url), process, "the service")
    print(f"the service serves {url}", flush=True)
    return url


def run_job(url: str, kubeconfig: Path) -> None:
    """Start a run, tell what it waits for, and show its output.

    Raises:
        DemoError: it did not succeed in time, or its output is wrong.
    """
    body = f'{{"Args": ["{_ARGUMENT}"]}}'
    print(f"\n$ curl -X POST {url}/job/fibonacci -d '{body}'")
    answer = requests.post(f"{url}/job/fibonacci", data=body, timeout=10)
    print(f"{answer.status_code} {answer.text.strip()}", flush=True)
    if answer.status_code != 202:
        raise DemoError("the run was not accepted")
    run = follow(url + answer.headers["Location"])
    if run["Status"] != "Succeeded":
        raise DemoError(f"the run ended as {run['Status']}: {run['Message']}")
    output = read_output(kubeconfig, run["Name"])
    print(f"\n$ kubectl logs job/{run['Name']}\n{output}", flush=True)
    if output.strip() != _EXPECTED:
        raise DemoError(f"the output is not {_EXPECTED}")
    print(f"The {_ARGUMENT}nd Fibonacci number, from a run that waited for its dependency: done.", flush=True)


def follow(url: str) -> dict[str, Any]:
    """Print every change of a run until it has ended; returns its last state."""
    print(f"\n$ curl {url}")
    shown, deadline = "", time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        answer = requests.get(url, timeout=10)
        if answer.status_code != 200:
            raise DemoError(f"the run can't be read: {answer.status_code} {answer.text}")
        run: dict[str, Any] = answer.json()
        state = f"{run['Status']:<10} {run['Message']}".rstrip()
        if state != shown:
            print(state, flush=True)
            shown = state
        if run["Status"] in ("Succeeded", "Failed"):
            return run
        time.sleep(0.2)
    raise DemoError(f"the run did not end within {_DEADLINE_SECONDS:.0f} s")


def read_output(kubeconfig: Path, job: str) -> str:
    """What the pods of a Job have printed."""
    with _connect(kubeconfig) as api:
        core = client.CoreV1Api(api)
        pods = core.list_namespaced_pod(_NAMESPACE, label_selector=f"batch.kubernetes.io/job-name={job}").items
        names = [pod.metadata.name for pod in pods if pod.metadata and pod.metadata.name]
        return "".join(core.read_namespaced_pod_log(name, _NAMESPACE) for name in names)


def _connect(kubeconfig: Path) -> client.ApiClient:
    connect: Callable[..., client.ApiClient] = config.new_client_from_config
    return connect(config_file=str(kubeconfig))


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, so that Ctrl-C reaches the demo alone, which then ends its children in order.
    process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
        command, cwd=_ROOT, env={**os.environ, **environment}, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if process.poll() is not None:
            raise DemoError(f"{what} ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not start within {_DEADLINE_SECONDS:.0f} s")
        time.sleep(0.05)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def _dev_port() -> int:
    """The port of `make dev`, which somebody else's service must not be taken for this one's to have."""
    text = os.environ.get("PORT") or str(_DEV_PORT)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise DemoError(f"PORT={text} is not a port number")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise DemoError(f"port {text} is taken; choose another one: make dev PORT=31021") from error
    return int(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _invite(url: str, kubeconfig: Path) -> None:
    print(
        f"""
Everything keeps running until Ctrl-C. To try:

  curl -X POST {url}/job/fibonacci -d '{{"Args": ["30"]}}'
  curl {url}/job/fibonacci/<Id>

  export KUBECONFIG={kubeconfig}
  kubectl get jobs
  kubectl describe job <Name>
  kubectl logs job/<Name>
  kubectl scale deployment fibonacci1 --replicas 0    # then start another run, and see what it waits for
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
