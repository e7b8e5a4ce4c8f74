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


def read_blocks() -> list[list[str]]:
    """Return the commands of each terminal."""
    page = (ROOT / "README.md").read_text("utf-8")
    section = page.partition("\n## A job of your own, without a cluster\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in blocks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide a folder that looks like a fresh clone with everything installed."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("Makefile", "gunicorn.conf.py", "wsgi.py", "devcluster"):
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


@pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_readme__commands_run_a_program_of_the_users_own(folder: Path) -> None:
    """The commands of both terminals, then the command that the first one prints; only the port differs."""
    (*files, dev), (start,) = read_blocks()
    port = str(find_free_port())
    for line in files:
        assert run_command(line, folder) == ""
    with running(f"PORT={port} {dev}", folder) as log:
        until(lambda: is_ready(f"http://localhost:{port}"))
        assert '"Status": "Succeeded"' in run_command(start.replace(PORT, port), folder)
        found = until(lambda: re.search(r"^report \S+ succeeded +(curl \S+/logs)$", log.read_text(), re.MULTILINE))
        assert run_command(found[1], folder) == "a report on sales\n"
