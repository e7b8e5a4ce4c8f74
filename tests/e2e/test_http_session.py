"""The session in docs/http.md prints what the page says."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.launch import Processes, create_demo_dependency, write_demo_jobs
from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
SERVED_AT = "http://localhost:30021"
"""The URL of `make dev`."""

VARIABLES = {r"\b[a-z2-7]{12}\b": "<id>", r"\b1[0-9]{12}\b": "<time>"}
_MARK = "-- end of a command --"


def read_session() -> list[tuple[str, str]]:
    """Return the page's commands with their printed output."""
    section = PAGE.read_text("utf-8").partition("\n## A session\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (entry.partition("\n") for entry in commands)]


def without_variables(text: str) -> str:
    """Return a text with its ids and times replaced."""
    for pattern, instead in VARIABLES.items():
        text = re.sub(pattern, instead, text)
    return text.strip()


@pytest.fixture
def url() -> Iterator[str]:
    """Start the service as `make dev` does, on a free port, and provide its URL."""
    with Processes() as processes:
        kubeconfig = processes.start_cluster()
        create_demo_dependency(kubeconfig)
        yield processes.start_service(kubeconfig, find_free_port(), write_demo_jobs(processes.folder))


@pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_http_session__prints_what_the_page_says(url: str) -> None:
    """Ids and times may differ."""
    session = read_session()
    assert len(session) > 15
    lines = [f"{command.replace(SERVED_AT, url)}\necho '{_MARK}'" for command, _ in session]
    ended = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    printed = ended.stdout.split(f"{_MARK}\n")[:-1]
    for (command, expected), actual in zip(session, printed, strict=True):
        assert without_variables(actual) == without_variables(expected), command
