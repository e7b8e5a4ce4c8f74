"""Start and stop: start-up names every error at once, and a signal stops the process soon."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests

from tests.http.clients import DEFINITIONS
from tests.support.faults import FaultProxy
from tests.support.ports import find_free_port
from tests.support.selection import slow
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import LONG_GRACEFUL_TIMEOUT, ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
COMMANDS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", "wsgi:app"],
    "serve": [str(SCRIPTS / "slimfaas-jobs"), "serve"],
    "dispatcher": [sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main(['dispatcher']))"],
}
GOOD = json.dumps(DEFINITIONS)
FAULTY = {
    "Configurations": {
        "Bad_Name": {"Image": "busybox:1"},
        "a": {"Image": "not an image", "Visibilty": "Public"},
        "b": {"Image": "busybox:1", "NumberParallelJob": 0, "Environments": [{"Name": "A", "Value": "secret", "X": 1}]},
    }
}


@pytest.fixture
def kubeconfig(server: Server, namespace: str, tmp_path: Path) -> Path:
    """Return a valid kubeconfig."""
    return write_kubeconfig(tmp_path, server, namespace)


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
    return {
        **inherited,
        "PYTHONWARNINGS": "error::ResourceWarning",
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:0",
        **variables,
    }


def start(
    command: str, variables: dict[str, str], *, options: Sequence[str] = (), folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMANDS[command], *options],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("command", ["serve", *slow("dispatcher")])
def test_start__with_a_faulty_configuration_prints_every_fault(command: str, kubeconfig: Path) -> None:
    """There is no traceback and no value."""
    variables = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": json.dumps(FAULTY)}
    ended = start(command, variables)

    assert ended.returncode not in (0, None)
    first, *faults = ended.stderr.splitlines()
    assert first == "the job configuration is faulty:"
    assert {fault.split(": ")[0] for fault in faults} == {
        "/Configurations/Bad_Name",
        "/Configurations/a/Image",
        "/Configurations/a/Visibilty",
        "/Configurations/b/Environments/0/X",
        "/Configurations/b/NumberParallelJob",
    }
    assert "did you mean Visibility?" in ended.stderr
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("command", ["dispatcher", *slow("serve")])
def test_start__with_faulty_settings_names_all_of_them(command: str, kubeconfig: Path) -> None:
    ended = start(
        command,
        {
            "KUBECONFIG": str(kubeconfig),
            "SLIMFAAS_JOBS_CONFIGURATION": GOOD,
            "SlimFaas__JobsConfiguration": GOOD,
            "SLIMFAAS_NAMESPACE": "../kube-system",
            "SLIMFAAS_DISPATCHER": "maybe",
            "SLIMFAAS_TRUSTED_NETWORKS": "10.0.0.1/8",
            "PORT": "http",
        },
    )
    assert ended.returncode not in (0, None)
    assert [line.split()[0] for line in ended.stderr.splitlines()] == [
        "the",  # job configuration is set more than once
        "SLIMFAAS_NAMESPACE",
        "SLIMFAAS_DISPATCHER",
        "SLIMFAAS_TRUSTED_NETWORKS",
        "PORT",
    ]


@pytest.mark.parametrize("command", ["dispatcher", *slow("serve")])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "no job configuration: set one of SLIMFAAS_JOBS_CONFIGURATION"),
        *slow(
            (
                {"SLIMFAAS_JOBS_CONFIGURATION_FILE": "/does/not/exist"},
                "SLIMFAAS_JOBS_CONFIGURATION_FILE cannot be read",
            ),
            ({"SLIMFAAS_JOBS_CONFIGURATION": GOOD}, "KUBECONFIG isn't set"),
        ),
        ({"SLIMFAAS_JOBS_CONFIGURATION": GOOD, "KUBECONFIG": "/does/not/exist"}, "/does/not/exist"),
    ],
)
def test_start__without_a_needed_setting_prints_one_line(command: str, variables: dict[str, str], message: str) -> None:
    ended = start(command, variables)
    assert ended.returncode not in (0, None)
    (line,) = ended.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    "option",
    [
        "--forwarded-allow-ips=*",
        *slow("--proxy-protocol", "--proxy-protocol=v2", "--protocol=uwsgi", "--header-map=dangerous"),
    ],
)
def test_start__refuses_gunicorn_options_that_let_callers_forge_addresses(kubeconfig: Path, option: str) -> None:
    variables = {
        "KUBECONFIG": str(kubeconfig),
        "SLIMFAAS_JOBS_CONFIGURATION": GOOD,
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:0 {option}",
    }
    ended = start("gunicorn", variables)
    assert ended.returncode not in (0, None)
    assert "SLIMFAAS_TRUSTED_PROXIES" in ended.stderr
    assert option.removeprefix("--").partition("=")[0].replace("-", "_") in ended.stderr


@pytest.mark.slow
def test_start__under_another_worker_class_is_refused(kubeconfig: Path) -> None:
    """It would not bound requests, and none of the service's threads would start."""
    variables = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": GOOD}
    ended = start("gunicorn", variables, options=["--worker-class", "sync"])
    assert ended.returncode not in (0, None)
    assert "worker_class" in ended.stderr


def test_start__without_our_configuration_is_refused(kubeconfig: Path, tmp_path: Path) -> None:
    """Runs would be accepted, and none would ever begin."""
    empty = tmp_path / "empty"
    empty.mkdir()
    variables = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": GOOD, "PYTHONPATH": str(ROOT)}
    ended = start("gunicorn", variables, options=["--no-control-socket"], folder=empty)
    assert ended.returncode not in (0, None)
    assert "start `slimfaas-jobs serve`" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("options", [["--port", "65536"], ["--workers", "0"], ["--port", "1", "--bind", "[::1]:1"]])
def test_serve__refuses_invalid_options(options: list[str]) -> None:
    ended = start("serve", {}, options=options)
    assert ended.returncode == 2
    assert "slimfaas-jobs serve: error: argument" in ended.stderr


def test_serve__starts_in_any_folder_and_answers_both_families(kubeconfig: Path, tmp_path: Path) -> None:
    """Modules of our names in that folder are not imported, and nobody's address is written as IPv6."""
    folder = tmp_path / "elsewhere"
    for name in ("app", "schemas"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise Exception('not this one')")
    port = find_free_port()
    variables = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": GOOD, "GUNICORN_CMD_ARGS": ""}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMANDS["serve"], "--port", str(port)], cwd=folder, env=environment(**variables), stderr=output
        )
    try:
        until(lambda: process.poll() is not None or "Booting worker" in log.read_text())
        for host in ["127.0.0.1", *(["[::1]"] if socket.has_dualstack_ipv6() else [])]:
            assert requests.post(f"http://{host}:{port}/job/private", timeout=DEADLINE_SECONDS).status_code == 403
        ready = until(lambda: (got := requests.get(f"http://127.0.0.1:{port}/ready", timeout=9)).ok and got.json())
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)
    assert "address=127.0.0.1" in log.read_text()
    assert "::ffff:" not in log.read_text()
    assert ready["Dispatcher"] != "off"


def test_dispatcher_command__fails_if_the_dispatcher_is_off(kubeconfig: Path) -> None:
    off = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": GOOD, "SLIMFAAS_DISPATCHER": "off"}
    ended = start("dispatcher", off)
    assert (ended.returncode, ended.stderr) == (
        1,
        "SLIMFAAS_DISPATCHER is off: set it to on, or do not start this command\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, *slow(signal.SIGINT)])
def test_dispatcher_command__stops_at_a_signal(kubeconfig: Path, tmp_path: Path, number: signal.Signals) -> None:
    """It gives the lease back and exits with 0."""
    variables = {"KUBECONFIG": str(kubeconfig), "SLIMFAAS_JOBS_CONFIGURATION": GOOD, "PORT": "0"}
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(COMMANDS["dispatcher"], cwd=ROOT, env=environment(**variables), stderr=file)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while b"leading as" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_gunicorn__stops_at_sigterm(kubeconfig: Path, tmp_path: Path) -> None:
    """The master, the worker and the dispatcher in it."""
    with ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", **LONG_GRACEFUL_TIMEOUT) as service:
        assert service.post("/job/public").status_code == 202
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text("utf-8")


@pytest.mark.slow
def test_gunicorn__stops_within_its_grace_period_while_the_api_server_is_silent(
    server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """The lease cannot be given back then."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
    with ServiceProcess(kubeconfig, DEFINITIONS, tmp_path / "log", **LONG_GRACEFUL_TIMEOUT) as service:
        proxy.wait_for(lambda request: request.path.endswith("/leases") and request.finished is not None)
        proxy.silence()
        assert service.stop() == 0
