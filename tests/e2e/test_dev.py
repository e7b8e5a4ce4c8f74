"""`make dev` as a process: it serves a user's definitions, and ends together with its terminal."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")

Start = Callable[..., "Session"]


class Session:
    """A shell that leads a session in which `make dev` runs; its output goes to a file.

    Attributes:
        url: the service's URL.
    """

    def __init__(self, folder: Path, line: str, variables: Mapping[str, str]) -> None:
        self.log = folder / "log"
        self.log.touch()
        port = find_free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLIMFAAS", "GUNICORN", "PYTEST"))
        }
        with self.log.open("ab") as log:
            self.shell = subprocess.Popen(
                ["bash", "-c", line],
                cwd=ROOT,
                env=environment | {"PORT": str(port), "PYTHON": sys.executable, **variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """The output so far."""
        return self.log.read_text("utf-8")

    def await_line(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches, and return the match."""
        found: re.Match[str] = until(lambda: re.search(pattern, self.text, re.MULTILINE))
        return found

    def await_end_of_everything(self) -> None:
        """Wait until neither cluster nor service listens, and the temporary folder is removed."""
        cluster = self.await_line(r"^devcluster serves http://127\.0\.0\.1:(\d+), kubeconfig (\S+)$")
        until(lambda: not is_listening(int(cluster[1])))
        until(lambda: not is_listening(int(self.url.rpartition(":")[2])))
        until(lambda: not Path(cluster[2]).parent.exists())


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a shell line in which `$JOBS` and `$IMAGES` hold one definition, and `$DEV` is the command."""
    definitions = {"report": {"Image": "acme/report:1.0", "Visibility": "Public"}}
    (tmp_path / "jobs.json").write_text(json.dumps({"Configurations": definitions}), "utf-8")
    (tmp_path / "images.json").write_text('{"acme/report:*": ["echo", "a report on"]}', "utf-8")
    files = {"JOBS": str(tmp_path / "jobs.json"), "IMAGES": str(tmp_path / "images.json")}
    dev = f"{sys.executable} -m devcluster.dev --jobs $JOBS --images $IMAGES"
    sessions: list[Session] = []

    def begin(line: str = "exec $DEV") -> Session:
        sessions.append(Session(tmp_path, line.replace("$DEV", dev), files))
        return sessions[-1]

    yield begin
    for session in sessions:
        with suppress(ProcessLookupError):
            os.killpg(session.shell.pid, signal.SIGTERM)
        session.shell.wait(DEADLINE_SECONDS)
        session.await_end_of_everything()


@pytest.mark.slow
def test_dev__own_definitions__are_served_reloaded_and_reported(start: Start, tmp_path: Path) -> None:
    """Every printed command can be pasted; a definition and an image that are added later are used."""
    session = start()
    session.await_line(r"Ctrl-C ends everything\.$")
    command = session.await_line(r"curl -X POST (\S+/job/report)$")
    response = requests.post(command[1], headers={"Prefer": "wait=120"}, json={"Args": ["x"]}, timeout=DEADLINE_SECONDS)
    assert response.json()["Status"] == "Succeeded"
    logs = session.await_line(r"^report \S+ succeeded +curl (\S+)$")
    assert requests.get(logs[1], timeout=DEADLINE_SECONDS).text == "a report on x\n"

    (tmp_path / "images.json").write_text('{"acme/other:*": ["echo", "another"]}', "utf-8")
    definitions = {"other": {"Image": "acme/other:1.0", "Visibility": "Public"}}
    (tmp_path / "jobs.json").write_text(json.dumps({"Configurations": definitions}), "utf-8")
    session.await_line(r"^the service has reloaded \S+$")
    assert requests.post(f"{session.url}/job/other", timeout=DEADLINE_SECONDS).status_code == 202
    logs = session.await_line(r"^other \S+ succeeded +curl (\S+)$")
    assert requests.get(logs[1], timeout=DEADLINE_SECONDS).text == "another\n"

    session.shell.send_signal(signal.SIGINT)
    assert session.shell.wait(DEADLINE_SECONDS) == 0
    session.await_end_of_everything()
    assert "Traceback" not in session.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_dev__signal__ends_all_processes(start: Start, number: signal.Signals) -> None:
    session = start()
    session.await_line(r"Ctrl-C ends everything\.$")
    session.shell.send_signal(number)
    assert session.shell.wait(DEADLINE_SECONDS) == 0
    session.await_end_of_everything()


@pytest.mark.slow
def test_dev__signal_while_it_starts__ends_all_processes(start: Start) -> None:
    """The cluster runs, and the service is not ready yet."""
    session = start()
    session.await_line(r"^devcluster serves ")
    session.shell.send_signal(signal.SIGHUP)
    assert session.shell.wait(DEADLINE_SECONDS) == 0
    session.await_end_of_everything()


@pytest.mark.slow
def test_dev__shell_that_is_killed__ends_all_processes(start: Start) -> None:
    """A background process gets no signal in that case."""
    session = start("$DEV & wait")
    session.await_line(r"Ctrl-C ends everything\.$")
    session.shell.kill()
    session.shell.wait(DEADLINE_SECONDS)
    session.await_end_of_everything()


@pytest.mark.slow
def test_dev__nohup__outlives_its_terminal(start: Start) -> None:
    session = start("trap '' HUP; exec $DEV")
    session.await_line(r"Ctrl-C ends everything\.$")
    session.shell.send_signal(signal.SIGHUP)
    run = requests.post(f"{session.url}/job/report", headers={"Prefer": "wait=120"}, timeout=DEADLINE_SECONDS)
    assert run.json()["Status"] == "Succeeded"
    assert session.shell.poll() is None


@pytest.mark.slow
def test_dev__terminal_that_is_closed__ends_all_processes(start: Start) -> None:
    """As when a terminal window is closed: the kernel sends SIGHUP, and writes to the terminal fail."""
    session = start(f'exec {sys.executable} -m tests.e2e.test_dev "$DEV"')
    session.await_line(r"Ctrl-C ends everything\.")
    session.shell.kill()
    session.shell.wait(DEADLINE_SECONDS)
    session.await_end_of_everything()


@pytest.mark.slow
def test_dev__service_that_ends__ends_the_rest_and_says_so(start: Start, tmp_path: Path) -> None:
    """The service fails because of invalid definitions, and reports them."""
    (tmp_path / "jobs.json").write_text('{"Configurations": {"a": {}}}', "utf-8")
    session = start()
    assert session.shell.wait(DEADLINE_SECONDS) == 1
    session.await_line(r"^dev: the service ended with exit code \d+$")
    assert "/Configurations/a" in session.text
    session.await_end_of_everything()


def _copy_terminal(line: str) -> None:
    """Run a shell line in a new terminal, which closes when this process ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "-c", line])
    with suppress(OSError):
        while text := os.read(terminal, 4096):
            os.write(sys.stdout.fileno(), text)


if __name__ == "__main__":
    _copy_terminal(sys.argv[1])
