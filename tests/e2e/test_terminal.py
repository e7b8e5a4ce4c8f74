"""The client's commands as processes, in pipes and in a terminal."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.support.faults import Fault, FaultProxy, LoseResponse
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess
from tests.support.terminals import COLUMNS, TerminalProgram
from tests.support.waiting import DEADLINE_SECONDS, until

PROGRAM = str(Path(sys.executable).with_name("slimfaas-jobs"))
PRINTS = pytest.mark.embedded_only("needs real processes, whose logs can be read")

_QUICK: dict[str, Any] = {"Image": "busybox:1", "Visibility": "Public", "Args": ["true"], "BackoffLimit": 0}
DEFINITIONS: dict[str, Any] = {
    "quick": _QUICK,
    "failing": {
        **_QUICK,
        "Args": ["sh", "-c", "exit 3"],
        "Environments": [{"Name": "TESTNODE_EXIT_CODE", "Value": "3"}],
    },
    "waiting": {**_QUICK, "DependsOn": ["nobody"]},
    "idle": {**_QUICK, "DependsOn": ["nobody"]},
    "shell": {**_QUICK, "NumberParallelJob": 9},
    "once": _QUICK,
    "retried": {**_QUICK, "BackoffLimit": 1},
    "private": {"Image": "busybox:1"},
}


def environment(url: str, **variables: str) -> dict[str, str]:
    """Return the environment of a person at a terminal."""
    given = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLIMFAAS", "PYTEST", "NO_COLOR"))
    }
    return {**given, "SLIMFAAS_URL": url, "TERM": "xterm-256color", **variables}


class Command:
    """Runs commands against one service."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.url = service.url

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[bytes]":
        """Start a command whose output goes to pipes."""
        return subprocess.Popen(
            [PROGRAM, *words],
            env=environment(self.url, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *words: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """Run a command; returns its standard output and error."""
        process = self.start(*words, **variables)
        output, errors = (text.decode() for text in process.communicate(timeout=DEADLINE_SECONDS))
        assert process.returncode == code, (words, output, errors)
        return output, errors

    def in_terminal(self, *words: str, **variables: str) -> TerminalProgram:
        """Start a command in a terminal."""
        return TerminalProgram([PROGRAM, *words], environment(self.url, **variables))


@pytest.fixture(scope="module")
def service(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run one replica for all of these tests, in a namespace of its own."""
    folder, namespace = tmp_path_factory.mktemp("terminal"), server.create_namespace()
    kubeconfig = write_kubeconfig(folder, server, namespace)
    with ServiceProcess(kubeconfig, {"Configurations": DEFINITIONS}, folder / "log") as running:
        yield running
        assert "Traceback" not in running.log_text
    server.delete_namespace(namespace)


@pytest.fixture
def command(service: ServiceProcess) -> Command:
    return Command(service)


def await_listed(command: Command, run: str) -> None:
    """Wait until a run is listed. A list may be a second old."""
    until(lambda: run in command("list", run.partition("/")[0], "-o", "name")[0].split())


def named_by(waiting: TerminalProgram) -> str:
    """Return the run that a command has started."""
    return waiting.lines[0]


def test_run__wait__exits_with_the_runs_own_exit_code(command: Command) -> None:
    """In pipes: the name on standard output, and each state once on standard error, without orders to a terminal."""
    output, errors = command("run", "quick", "--wait")
    name = output.strip()
    await_listed(command, name)
    states = errors.splitlines()
    assert states[-1].split() == [name, "Succeeded"]
    assert len(states) == len(set(states))
    assert "\x1b" not in output + errors
    output, errors = command("run", "failing", "--wait", "-o", "json", code=3)
    assert json.loads(output)["ExitCode"] == 3
    assert command("wait", *name.split("/"), "-o", "name")[0].strip() == name


def test_run__in_the_queue__is_shown_listed_and_cancelled(command: Command) -> None:
    first, second = (command("run", "waiting")[0].strip() for _ in range(2))
    await_listed(command, first)
    await_listed(command, second)
    table = command("list", "waiting", "--status", "Queued")[0].splitlines()
    assert table[0].split() == ["RUN", "STATUS", "AGE", "RAN", "WHY"]
    assert {line.split()[0]: line.partition("#")[2] for line in table[1:]} == {
        first: "1 waits for nobody (not found)",
        second: "2 waits for nobody (not found)",
    }
    assert command("list", "waiting", "--finished-since", "24h") == ("", "There are no runs.\n")
    shown = command("get", second)[0]
    assert "Message     waits for nobody (not found)\n" in shown
    assert json.loads(command("get", second, "-o", "json")[0])["PositionInQueue"] == 2
    assert command("cancel", first)[0] == f"{first} cancelled\n"
    assert "there is no such run" in command("cancel", first, code=122)[1]
    assert command("cancel", "waiting", "--queued")[0] == "waiting: 1 queued run deleted\n"
    until(lambda: command("list", "waiting") == ("", "There are no runs.\n"))


def test_list__of_what_has_ended__shows_ended_runs(command: Command) -> None:
    command("run", "quick", "--wait")
    until(lambda: "Succeeded" in command("list", "quick", "--finished-since", "1h")[0])


def test_status__shows_slots_queues_and_dependencies(command: Command) -> None:
    header = command("status")[0].splitlines()[0]
    assert header.split() == ["DEFINITION", "VISIBILITY", "SLOTS", "QUEUED", "DEPENDENCIES"]
    wanted = ["idle", "Public", "0/1", "0", "nobody (not found)"]
    assert command("status", "idle")[0].splitlines()[1].split(maxsplit=4) == wanted
    assert command("status", "waiting", "-o", "name")[0] == "waiting\n"
    assert json.loads(command("status", "waiting", "-o", "json")[0])[0]["Name"] == "waiting"


def test_schedules__are_made_listed_paused_and_deleted(command: Command) -> None:
    words = ("--add", "0 6 1 1 *", "--time-zone", "Europe/Paris", "--", "echo", "--add")
    name = command("schedules", "quick", *words)[0].strip()
    assert command("schedules", "quick", "-o", "name")[0] == f"{name}\n"
    header, row = command("schedules")[0].splitlines()
    assert header.split()[:4] == ["SCHEDULE", "CRON", "TIME", "ZONE"]
    assert row.startswith(f"{name}  0 6 1 1 *  Europe/Paris  Active  ")
    assert row.endswith("  echo --add")
    assert command("schedules", name, "--suspend")[0] == f"{name} suspended\n"
    assert json.loads(command("schedules", "quick", "-o", "json")[0])[0]["Suspend"] is True
    assert command("schedules", name, "--resume")[0] == f"{name} resumed\n"
    assert "/Schedule: " in command("schedules", "quick", "--add", "sometimes", code=121)[1]
    assert "--add CRON" in command("schedules", "quick", "--arg", "x", code=2)[1]
    assert command("schedules", name, "--delete")[0] == f"{name} deleted\n"
    command("schedules", name, "--delete", code=122)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["run", "quick", "--image", "evil:1"], 121, "/Image: not an image that this definition allows"),
        (["run", "private"], 121, "private"),
        (["run", "missing"], 122, "slimfaas-jobs status lists those there are"),
        (["get", "quick/abcdefghijkl"], 122, "there is no such run"),
        (["logs", "-f", "quick/abcdefghijkl"], 122, "there is no such run"),
        (["status", "missing"], 122, "missing"),
        (["list", "quick", "--status", "Sleeping"], 121, "status"),
        (["get", "quick"], 2, "NAME/ID"),
        (["wait", "quick/a", "--timeout", "soon"], 2, "30s"),
        (["run", "quick", "--body", "/nonexistent"], 2, "cannot read"),
        (["get", "quick/a", "--token-file", "/nonexistent"], 121, "cannot read the token file"),
        (["get", "quick/a", "--server", "nonsense"], 2, "http://slimfaas:5000"),
    ],
)
def test_command__that_fails__says_why_and_has_its_exit_code(
    command: Command, words: list[str], code: int, text: str
) -> None:
    output, errors = command(*words, code=code)
    assert text in errors
    assert output == ""
    assert "Traceback" not in errors


def test_command__no_service__is_told(command: Command) -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    output, errors = command("run", "quick", "--retry-for", "0", SLIMFAAS_URL=url, code=125)
    assert (output, errors) == ("", f"slimfaas-jobs: cannot connect to {url}: Connection refused\n")
    assert "SLIMFAAS_URL" in command("list", SLIMFAAS_URL="", code=2)[1]


@pytest.mark.slow
def test_wait__timeout__leaves_the_run_and_says_so(command: Command) -> None:
    name = command("run", "waiting")[0].strip()
    errors = command("wait", name, "--timeout", "1s", code=124)[1]
    assert f"{name} goes on" in errors
    assert f"slimfaas-jobs cancel {name}" in errors
    command("cancel", name)


def test_wait__run_that_is_cancelled__has_its_exit_code(command: Command) -> None:
    with command.in_terminal("run", "waiting", "--wait") as waiting:
        waiting.await_text("waits for nobody (not found)")
        command("cancel", named_by(waiting))
        assert waiting.wait() == 123
    assert "was deleted before it ended" in waiting.text


def test_terminal__shows_in_one_line_what_a_run_waits_for(command: Command) -> None:
    """Ctrl-C leaves the run, and says how to cancel it."""
    with command.in_terminal("run", "waiting", "--wait", "--server", command.url, SLIMFAAS_URL="") as waiting:
        waiting.await_text("position 1, waits for nobody (not found)")
        assert "\x1b[33mQueued\x1b[0m" in waiting.output
        waiting.press_ctrl_c()
        assert waiting.wait() == 130
    name = named_by(waiting)
    assert f"slimfaas-jobs cancel {name} --server {command.url}" in waiting.text
    assert "Traceback" not in waiting.text
    assert all(len(line) <= COLUMNS for line in waiting.lines if "--server" not in line)
    command("cancel", name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "forbidden"), [({"NO_COLOR": "1"}, "\x1b[3"), ({"TERM": "dumb"}, "\x1b")], ids=["no-color", "dumb"]
)
def test_terminal__without_colours__gets_none(command: Command, variables: Mapping[str, str], forbidden: str) -> None:
    with command.in_terminal("run", "quick", "--wait", **variables) as waiting:
        assert waiting.wait() == 0
    assert "Succeeded" in waiting.text
    assert forbidden not in waiting.output
    with command.in_terminal("list", "quick", **variables) as listed:
        assert listed.wait() == 0
    assert forbidden not in listed.output


@pytest.mark.slow
def test_list__nobody_reads_on__ends_quietly(command: Command) -> None:
    for _ in range(2):
        command("run", "quick", "--wait")
    line = f"set -o pipefail; {PROGRAM} list -o json | true"
    done = subprocess.run(
        ["bash", "-c", line],
        env=environment(command.url),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""


@PRINTS
def test_run__follow__prints_the_log_and_nothing_else(command: Command) -> None:
    """What follows `--` is the run's, whatever it looks like; a variable without a value is the caller's own."""
    script = 'echo "$0 $1 $MINE"; exit 4'
    output, errors = command(
        "run", "shell", "--env", "MINE", "--follow", "--", "sh", "-c", script, "--arg", "--", code=4, MINE="m"
    )
    assert output == "--arg -- m\n"
    name = errors.split()[0]
    assert command("logs", name)[0] == output
    assert command("logs", "-f", name)[0] == output
    assert command("logs", "-f", "--tail", "1", name)[0] == output
    assert "no attempt 2" in command("logs", name, "--attempt", "2", code=122)[1]


@PRINTS
def test_log__orders_to_a_terminal__are_shown_and_not_carried_out(command: Command) -> None:
    """In a pipe the log is what the container has printed, byte for byte."""
    printed = b"\x1b]0;title\x07\x1b[2J\xe2\x80\xaeevil\tx\r\n\xff\n"
    octal = "".join(f"\\{byte:03o}" for byte in printed)
    name = command("run", "shell", "--wait", "--", "printf", octal)[0].strip()
    process = command.start("logs", name)
    assert process.communicate(timeout=DEADLINE_SECONDS)[0] == printed
    with command.in_terminal("logs", name) as shown:
        assert shown.wait() == 0
    assert shown.text.splitlines() == [r"\x1b]0;title\x07\x1b[2J\u202eevil	x", "\ufffd"]


@PRINTS
def test_follow__connections_that_break__shows_each_line_once(command: Command, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"for i in 1 2 3; do echo line $i; done; while [ ! -e {gate} ]; do sleep 0.05; done; echo last"
    with FaultProxy(command.url) as proxy:
        process = command.start("run", "shell", "--follow", "--", "sh", "-c", script, SLIMFAAS_URL=proxy.url)
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(3)]
        proxy.cut_all()
        until(lambda: len([one for one in proxy.requests if "attempt=1&follow" in one.query]) >= 2)
        gate.touch()
        rest, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert b"".join(first) + rest == b"line 1\nline 2\nline 3\nlast\n"
    assert (process.returncode, b"Traceback" in errors) == (0, False)


@PRINTS
@pytest.mark.slow
def test_follow__retries_of_the_run__are_followed_too(command: Command) -> None:
    """Each attempt has a log of its own."""
    output, errors = command("run", "retried", "--follow", "--", "sh", "-c", "echo attempt; exit 5", code=5)
    assert output == "attempt\nattempt\n"
    assert errors.splitlines()[-1].split()[1] == "Failed"


def test_run__lost_answer__starts_one_run(command: Command) -> None:
    with FaultProxy(command.url) as proxy:
        lost = proxy.add(Fault(LoseResponse(), method="POST", times=1))
        output, errors = command("run", "once", SLIMFAAS_URL=proxy.url)
        assert proxy.hits(lost) == 1
    await_listed(command, output.strip())
    assert command("list", "once", "-o", "name")[0] == output
    assert "trying again" in errors


def test_run__outcome_that_stays_unknown__names_the_key_that_gets_the_run(command: Command) -> None:
    with FaultProxy(command.url) as proxy:
        proxy.add(Fault(LoseResponse(), method="POST", times=None))
        errors = command("run", "quick", "--retry-for", "0", SLIMFAAS_URL=proxy.url, code=125)[1]
    (key,) = re.findall(r"--key (\S+)", errors)
    name = command("run", "quick", "--key", key)[0]
    assert command("run", "quick", "--key", key)[0] == name


@pytest.mark.slow
def test_wait__service_that_is_restarted__goes_on(server: Server, namespace: str, tmp_path: Path) -> None:
    """While the service is away the command says so; the run ends, and the command with it."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    service = ServiceProcess(kubeconfig, {"Configurations": DEFINITIONS}, tmp_path / "log")
    command = Command(service)
    with service, command.in_terminal("run", "waiting", "--wait") as waiting:
        waiting.await_text("waits for nobody")
        service.kill()
        waiting.await_text("trying again: cannot connect")
        batch = client.BatchV1Api(server.admin)
        (job,) = batch.list_namespaced_job(namespace).items
        batch.patch_namespaced_job(job.metadata.name, namespace, {"spec": {"suspend": False}})
        service.start()
        assert waiting.wait() == 0
    assert waiting.lines[-1].split()[:2][1] == "Succeeded"
