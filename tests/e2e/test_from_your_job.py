"""The steps of docs/from-your-job.md print what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.launch import Processes
from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "from-your-job.md").read_text("utf-8")
SERVED_AT = "http://localhost:30021"
"""The URL of `make dev`."""


def read_commands() -> list[tuple[str, str]]:
    """Return the page's commands with their printed output."""
    blocks = "\n".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    commands = re.split(r"^\$ ", blocks, flags=re.MULTILINE)[1:]
    return [(command, printed.strip()) for command, _, printed in (entry.partition("\n") for entry in commands)]


def run(command: str, folder: Path) -> str:
    """Run a command; returns what it prints to either stream."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return ended.stdout.strip()


@pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.slow
def test_from_your_job__prints_what_the_page_says(tmp_path: Path) -> None:
    (job,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "job.yaml").write_text(job, "utf-8")
    commands = read_commands()
    calls = [(command, printed) for command, printed in commands if SERVED_AT in command]
    steps = [(command, printed) for command, printed in commands if SERVED_AT not in command]
    assert (len(steps), len(calls)) == (5, 2)

    for command, printed in steps:
        assert run(command, tmp_path) == printed, command
    with Processes() as processes:
        url = processes.start_service(processes.start_cluster(), find_free_port(), tmp_path / "jobs.json")
        for command, printed in calls:
            assert run(command.replace(SERVED_AT, url), tmp_path) == printed, command
