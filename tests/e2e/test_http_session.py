"""The session of docs/http.md, as a reader would type it."""

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
"""Where `make dev` serves."""

VARIES = {r"\b[a-z2-7]{12}\b": "<id>", r"\b1[0-9]{12}\b": "<time>"}
_MARK = "-- end of a command --"


def read_session() -> list[tuple[str, str]]:
    """The commands, each with what the page says that it prints."""
    section = PAGE.read_text("utf-8").partition("\n## A session\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (entry.partition("\n") for entry in commands)]


def alike(text: str) -> str:
    """A text without what is different each time."""
    for pattern, instead in VARIES.items():
        text = re.sub(pattern, instead, text)
    return text.strip()


@pytest.fixture
def url() -> Iterator[str]:
    """The service as `make dev` starts it, on a port that is free."""
    with Processes() as processes:
        kubeconfig = processes.start_cluster()
        create_demo_dependency(kubeconfig)
        yield processes.start_service(kubeconfig, find_free_port(), write_demo_jobs(processes.folder))


@pytest.mark.embedded_only("it starts a cluster of its own, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_session_of_the_reference_goes_as_it_is_written(url: str) -> None:
    """Each command prints what the page says, but for ids and times."""
    session = read_session()
    assert len(session) > 15
    lines = [f"{command.replace(SERVED_AT, url)}\necho '{_MARK}'" for command, _ in session]
    ended = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    printed = ended.stdout.split(f"{_MARK}\n")[:-1]
    for (command, expected), actual in zip(session, printed, strict=True):
        assert alike(actual) == alike(expected), command
