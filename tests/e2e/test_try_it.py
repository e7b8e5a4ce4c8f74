"""The README's section on a job of one's own, as a newcomer would type it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.ports import find_free_port

ROOT = Path(__file__).parents[2]
PORT = "30021"
"""What the page says."""


def read_blocks() -> list[list[str]]:
    """The commands of each terminal, without what the rest of the suite has done already."""
    page = (ROOT / "README.md").read_text("utf-8")
    section = page.partition("\n## A job of your own, without a cluster\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if line != "make install"] for block in blocks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh clone, as far as these commands see it."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("gunicorn.conf.py", "wsgi.py", "devcluster"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def environment() -> dict[str, str]:
    """Of a terminal in which nothing of the service is set."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLIMFAAS", "GUNICORN", "PYTEST")) and name != "KUBECONFIG"
    }


def type_in(line: str, folder: Path) -> str:
    """Type a command and wait for its end; returns what it printed."""
    ended = subprocess.run(
        ["bash", "-ec", line], cwd=folder, env=environment(), capture_output=True, text=True, timeout=90, check=True
    )
    return ended.stdout


@contextmanager
def left_running(line: str, folder: Path) -> Iterator[None]:
    """Type a command that goes on until Ctrl-C."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {line}"], cwd=folder, env=environment(), start_new_session=True
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.mark.embedded_only("it starts a cluster of its own, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_a_newcomers_own_program_runs_as_the_page_says(folder: Path) -> None:
    """Three terminals, each command as it is printed but for the port and the id."""
    (*files, cluster), (service,), (start, read) = read_blocks()
    port = str(find_free_port())
    for line in files:
        assert type_in(line, folder) == ""
    with ExitStack() as stack:
        stack.enter_context(left_running(cluster.partition(" # ")[0].rstrip(), folder))
        wait_until((folder / "kubeconfig").exists)
        stack.enter_context(left_running(service.replace(PORT, port), folder))
        wait_until(lambda: is_ready(f"http://localhost:{port}"))
        answer = type_in(start.replace(PORT, port), folder)
        assert '"Status": "Succeeded"' in answer
        (run_id,) = re.findall(r'"Id": "([^"]*)"', answer)
        assert type_in(read.replace(PORT, port).replace("<Id>", run_id), folder) == "a report on sales\n"
