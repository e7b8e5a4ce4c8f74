"""The findings of a check, as text, as annotations of a GitHub workflow, or as JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.faults import Fault

Format = Literal["text", "github", "json"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or a warning, and where it is.

    Attributes:
        file: the path as it was given; `standard input` for `-`.
        line: the line of the file, from 1; `None`: unknown.
        place: the ConfigMap and its key, or the CronJob; empty if the file itself is the configuration.
        fault: the fault.
        is_warning: whether it leaves the exit code at 0.
        is_unreadable: whether the file has no document that the fault could be a part of.
    """

    file: str
    line: int | None
    place: str
    fault: Fault
    is_warning: bool = False
    is_unreadable: bool = False

    def __str__(self) -> str:
        parts = [self.file, *([self.place] if self.place else [])]
        parts.append(self.fault.message if self.is_unreadable else str(self.fault))
        text = ("warning: " if self.is_warning else "") + ": ".join(parts)
        return _visible(text)


def report(findings: Sequence[Finding], output_format: Format) -> None:
    """Print findings. In the text format, warnings go to standard error."""
    if output_format == "json":
        print(json.dumps([_as_object(finding) for finding in findings], indent=2))
        return
    for finding in findings:
        if output_format == "github":
            print(_as_annotation(finding))
        else:
            print(finding, file=sys.stderr if finding.is_warning else sys.stdout)


def _as_object(finding: Finding) -> dict[str, object]:
    return {
        "file": finding.file,
        "line": finding.line,
        "place": finding.place,
        "pointer": finding.fault.pointer,
        "message": finding.fault.message,
        "severity": "warning" if finding.is_warning else "error",
    }


def _as_annotation(finding: Finding) -> str:
    """Return a workflow command (https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions)."""
    properties = {"file": finding.file, "line": finding.line, "title": finding.place or "Job configuration"}
    written = ",".join(f"{name}={_escape(str(value), ':,')}" for name, value in properties.items() if value is not None)
    return f"::{'warning' if finding.is_warning else 'error'} {written}::{_escape(str(finding.fault))}"


def _escape(text: str, others: Iterable[str] = ()) -> str:
    for character in ("%", "\r", "\n", *others):
        text = text.replace(character, f"%{ord(character):02X}")
    return _visible(text)


def _visible(text: str) -> str:
    """Escape what is not printable: a line feed or control character in a key could give orders to a terminal or CI."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
