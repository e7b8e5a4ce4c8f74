"""The commands of the README's section "A job of your own" work as written."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).parents[2]
PORT = "30021"
"""The port in the README."""


def read_blocks() -> list[str]:
    """Return the commands, block by block."""
    page = (ROOT / "README.md").read_text("utf-8")
    section = page.partition("\n## A job of your own, without a cluster\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide a folder that looks like a fresh clone with everything installed."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("Makefile", "devcluster"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


def environment() -> dict[str, str]:
    """Return an environment without variables of the service."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLIMFAAS", "GUNICORN", "PYTEST", "MAKE", "MFLAGS")) and name != "KUBECONFIG"
    }


def run_command(line: str, folder: Path) -> str:
    """Run a command, and return its output."""
    ended = subprocess.run(
        ["bash", "-ec", line],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    return ended.stdout


@contextmanager
def running(line: str, folder: Path) -> Iterator[Path]:
    """Run a command until the end of the context, then send SIGINT; its output goes to the yielded file."""
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=DEADLINE_SECONDS).ok
    except requests.ConnectionError:
        return False


@pytest.mark.slow
@pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_readme__commands_run_a_program_of_the_users_own(folder: Path) -> None:
    """The commands of both terminals, then the command that the first one prints; only the port differs."""
    files_and_dev, follow, cancel = read_blocks()
    files, _, dev = files_and_dev.rstrip().rpartition("\n")
    port = str(find_free_port())
    parts = "".join(f"part {number} of a report on sales\n" for number in range(1, 11))
    assert run_command(files, folder) == ""
    with running(f"PORT={port} {dev}", folder) as log:
        until(lambda: is_ready(f"http://localhost:{port}"))
        follow = follow.replace(PORT, port)
        assert run_command(follow, folder) == parts
        found = until(lambda: re.search(r"^report \S+ succeeded +(curl \S+/logs)$", log.read_text(), re.MULTILINE))
        assert run_command(found[1], folder) == parts

        (folder / "report.py").write_text("import time; time.sleep(600)", "utf-8")  # the first run holds the slot
        export, _ = follow.splitlines()
        *start, cancel_second = cancel.splitlines()
        listed = run_command("\n".join([export, *start, "echo $second"]), folder)
        second = listed.split()[-1]
        assert re.search(rf"^{second} +Queued", listed, re.MULTILINE)
        told = second.replace("/", " ")
        until(lambda: f"\n{told} queued" in log.read_text())
        run_command(f"{export}\nsecond={second}\n{cancel_second}", folder)
        until(lambda: f"\n{told} cancelled\n" in log.read_text())
