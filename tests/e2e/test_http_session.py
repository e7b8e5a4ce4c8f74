"""The sessions in docs/http.md and docs/terminal.md print what the pages say, and the code of docs/client.md works."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devcluster.launch import Processes, create_demo_dependency, write_demo_jobs
from tests.support.ports import find_free_port
from tests.support.waiting import DEADLINE_SECONDS, until

DOCS = Path(__file__).parents[2] / "docs"
SERVED_AT = "http://localhost:30021"
"""The URL of `make dev`."""

VARIABLES = {r"\b[a-z2-7]{12}\b": "<id>", r"\b1[0-9]{12}\b": "<time>"}
EMBEDDED = pytest.mark.embedded_only("it starts its own embedded cluster, whose runs are real processes")
_MARK = "-- end of a command --"


def read_session(page: str) -> list[tuple[str, str]]:
    """Return a page's commands with their printed output."""
    section = (DOCS / page).read_text("utf-8").partition("\n## A session\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (entry.partition("\n") for entry in commands)]


def without_variables(text: str) -> str:
    """Return a text with its ids and times replaced."""
    for pattern, instead in VARIABLES.items():
        text = re.sub(pattern, instead, text)
    return text.strip()


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """Start the service as `make dev` does, on a free port, and provide its URL."""
    with Processes() as processes:
        kubeconfig = processes.start_cluster()
        create_demo_dependency(kubeconfig)
        yield processes.start_service(kubeconfig, find_free_port(), write_demo_jobs(processes.folder))


@pytest.fixture
def url(service: str) -> str:
    """Provide the URL of a service whose queues are empty, whatever another session has left there."""

    def is_empty() -> bool:
        statuses = requests.get(f"{service}/jobs/status", timeout=DEADLINE_SECONDS).json()
        for status in statuses:
            if status["QueueLength"]:
                requests.delete(f"{service}/job/{status['Name']}", timeout=DEADLINE_SECONDS)
        return not any(status["QueueLength"] or status["ActiveRuns"] for status in statuses)

    until(is_empty)
    return service


@EMBEDDED
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("page", "least"), [("http.md", 15), ("terminal.md", 10)])
def test_session__prints_what_the_page_says(url: str, page: str, least: int) -> None:
    """Ids and times may differ."""
    session = read_session(page)
    assert len(session) > least
    lines = [f"{command.replace(SERVED_AT, url)}\necho '{_MARK}'" for command, _ in session]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
        env={**os.environ, "PATH": path},
    )
    printed = ended.stdout.split(f"{_MARK}\n")[:-1]
    for (command, expected), actual in zip(session, printed, strict=True):
        assert without_variables(actual) == without_variables(expected), (command, ended.stderr)


@EMBEDDED
def test_client_page__has_code_that_works(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for a task that is taken up again."""
    code = (DOCS / "client.md").read_text("utf-8")
    first, task, tokens = re.findall(r"^```python\n(.*?)^```$", code, re.MULTILINE | re.DOTALL)
    exec(first.replace(SERVED_AT, url), {})
    assert capsys.readouterr().out == "Succeeded 0 267914296\n"
    names: dict[str, Any] = {}
    exec(task.replace(SERVED_AT, url), names)
    for _ in range(2):  # the same run: its log is printed twice
        assert names["run_report"]("scheduled__2026-11-29T00:00:00+00:00", "report", 1) == ""
        assert capsys.readouterr().out == "832040\n"
    exec(tokens, {})
