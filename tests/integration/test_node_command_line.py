"""`python -m devcluster` as a process: how it starts and ends, and what it cleans up."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as kubernetes
from kubernetes import config as untyped_config

from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER, Eventually, Manifest, Model
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = OF_THE_EMBEDDED_CLUSTER

config: Any = untyped_config  # it has no annotations

Launch = Callable[..., "subprocess.Popen[str]"]
StartWithPod = Callable[[], "tuple[subprocess.Popen[str], list[int]]"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Return a function that starts the command; processes that remain are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "devcluster", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def start_with_pod(launch: Launch, tmp_path: Path, eventually: Eventually) -> Iterator[StartWithPod]:
    """Return a function that starts a cluster with a pod that has a descendant in another session.

    It returns the cluster's process and the pids of the pod's processes.
    """
    pids: list[int] = []

    def start() -> "tuple[subprocess.Popen[str], list[int]]":
        process = launch("--kubeconfig", str(tmp_path / "kubeconfig"), "--namespace", "mine")
        first_line(process)
        script = (
            f"setsid sh -c 'echo $$$$ > {tmp_path}/far; sleep 60' & "
            f"sh -c 'echo $$$$ > {tmp_path}/near; sleep 60; true' & echo $$$$ > {tmp_path}/main; wait"
        )
        pod: Manifest = {
            "metadata": {"name": "p"},
            "spec": {
                "terminationGracePeriodSeconds": 3600,
                "containers": [{"name": "c", "image": "busybox", "args": ["sh", "-c", script]}],
            },
        }
        with config.new_client_from_config(str(tmp_path / "kubeconfig")) as client:
            core: Model = kubernetes.CoreV1Api(client)
            core.create_namespaced_pod("mine", pod)
        files = [tmp_path / name for name in ("main", "near", "far")]
        pids.extend(int(eventually(partial(read_text, path))) for path in files)
        return process, pids

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def read_text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def errors_of(process: "subprocess.Popen[str]") -> str:
    assert process.stderr
    return process.stderr.read()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_kubeconfig__exists_once_the_cluster_serves(launch: Launch, tmp_path: Path) -> None:
    """One output line names its path; the file is private, complete, and names the namespace."""
    path = tmp_path / "kubeconfig"
    process = launch("--port", "0", "--kubeconfig", str(path), "--namespace", "mine")
    line = first_line(process)
    content = json.loads(path.read_text())
    url = content["clusters"][0]["cluster"]["server"]
    assert line == f"devcluster serves {url}, kubeconfig {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    _, active = config.list_kube_config_contexts(str(path))
    assert active["context"]["namespace"] == "mine"
    with config.new_client_from_config(str(path)) as client:
        assert kubernetes.BatchV1Api(client).list_namespaced_job("mine").items == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["kubeconfig"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal__stops_the_cluster_and_all_processes(
    start_with_pod: StartWithPod, eventually: Eventually, number: signal.Signals
) -> None:
    """The exit code is 0."""
    process, pids = start_with_pod()
    process.send_signal(number)
    assert process.wait(DEADLINE_SECONDS) == 0
    assert errors_of(process) == ""
    assert not any(is_alive(pid) for pid in pids)


def test_sigkill__leaves_no_process_and_no_files(start_with_pod: StartWithPod, eventually: Eventually) -> None:
    """Neither containers nor their descendants."""
    process, pids = start_with_pod()
    folder = Path(f"/proc/{pids[0]}/cwd").readlink().parents[3]
    assert folder.name.startswith("devcluster-")
    process.kill()
    eventually(lambda: not any(is_alive(pid) for pid in pids))
    eventually(lambda: not folder.exists())


@pytest.mark.slow
def test_shim_killed__containers_restart(start_with_pod: StartWithPod, tmp_path: Path, eventually: Eventually) -> None:
    """The container and its process group end; the pod's restartPolicy restarts it."""
    _, pids = start_with_pod()
    status = Path(f"/proc/{pids[0]}/status").read_text()
    supervisor = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not is_alive(pids[0]) and not is_alive(pids[1]))
    again = int(eventually(lambda: (text := (tmp_path / "main").read_text()) and int(text) != pids[0] and text))
    pids.append(again)
    assert is_alive(again)


def test_port_in_use__exits_with_1_and_one_line(launch: Launch, tmp_path: Path) -> None:
    """No kubeconfig is written."""
    first = launch()
    port = first_line(first).rpartition(":")[2].strip()
    second = launch("--port", port, "--kubeconfig", str(tmp_path / "kubeconfig"))
    assert second.wait(DEADLINE_SECONDS) == 1
    assert errors_of(second) == f"devcluster: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert not (tmp_path / "kubeconfig").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "must be a JSON object of image patterns"), ('{"a:*": "x"}', "a:*: the command must be a list of strings")],
)
def test_invalid_image_table__exits_with_2(launch: Launch, tmp_path: Path, content: str, message: str) -> None:
    """As for any invalid argument."""
    (tmp_path / "images.json").write_text(content)
    process = launch("--images", str(tmp_path / "images.json"))
    assert process.wait(DEADLINE_SECONDS) == 2
    assert errors_of(process) == f"devcluster: {tmp_path}/images.json: {message}\n"
