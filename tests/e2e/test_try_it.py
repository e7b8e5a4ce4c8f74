"""The README's section on a job of one's own, as a newcomer would type it."""

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
"""What the page says."""


def read_blocks() -> list[list[str]]:
    """The commands of each terminal."""
    page = (ROOT / "README.md").read_text("utf-8")
    section = page.partition("\n## A job of your own, without a cluster\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in blocks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh clone, as far as these commands see it; everything is installed."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("Makefile", "gunicorn.conf.py", "wsgi.py", "devcluster"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (0, 0))
    return tmp_path


def environment() -> dict[str, str]:
    """Of a terminal in which nothing of the service is set."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLIMFAAS", "GUNICORN", "PYTEST", "MAKE", "MFLAGS")) and name != "KUBECONFIG"
    }


def type_in(line: str, folder: Path) -> str:
    """Type a command and wait for its end; returns what it printed."""
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
def left_running(line: str, folder: Path) -> Iterator[Path]:
    """Type a command that goes on until Ctrl-C; what it prints goes to the file."""
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
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


@pytest.mark.embedded_only("it starts a cluster of its own, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_a_newcomers_own_program_runs_as_the_page_says(folder: Path) -> None:
    """Two terminals, each command as it is printed but for the port; then the command that the first one shows."""
    (*files, dev), (start,) = read_blocks()
    port = str(find_free_port())
    for line in files:
        assert type_in(line, folder) == ""
    with left_running(f"PORT={port} {dev}", folder) as log:
        until(lambda: is_ready(f"http://localhost:{port}"))
        assert '"Status": "Succeeded"' in type_in(start.replace(PORT, port), folder)
        found = until(lambda: re.search(r"^report \S+ succeeded +(curl \S+/logs)$", log.read_text(), re.MULTILINE))
        assert type_in(found[1], folder) == "a report on sales\n"
