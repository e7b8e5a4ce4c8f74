"""`slimfaas-jobs completion`: what bash completes with the script."""

import shutil
import subprocess
from pathlib import Path

import pytest

from app.cli import main

PROGRAM = """\
#!/bin/sh
case "$*" in
  status*-o\\ name*) echo fibonacci; echo report ;;
  list*-o\\ name*) echo report/aaaaaaaaaaaa; echo report/bbbbbbbbbbbb ;;
esac
"""
"""Stands for a program that reaches a service."""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("comp", ["completion"]),
        ("--he", ["--help"]),
        ("cancel --q", ["--queued"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("run ", ["fibonacci", "report"]),
        ("status r", ["report"]),
        *((f"{command} report/a", ["report/aaaaaaaaaaaa"]) for command in ("get", "logs", "wait", "cancel")),
        ("get report/aaaaaaaaaaaa ", []),
        ("validate ", []),
    ],
)
def test_bash__completes(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, completed: list[str]) -> None:
    """With the program as it was called, which is not on the PATH."""
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out, "utf-8")
    program = tmp_path / "bin" / "slimfaas-jobs"
    program.parent.mkdir()
    program.write_text(PROGRAM, "utf-8")
    program.chmod(0o755)
    words = [str(program), *line.split(" ")]
    complete = """
        . "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _slimfaas_jobs; printf '%s\\n' "${COMPREPLY[@]}"
    """
    shown = subprocess.run(
        ["bash", "-c", complete, str(script), *words], capture_output=True, text=True, check=True, timeout=60
    )
    assert (shown.stdout.split(), shown.stderr) == (completed, "")
