"""Figures of the benchmarks: statistics, the table, and the JSON file."""

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = ("flask", "gunicorn", "jsonschema", "kubernetes", "marshmallow", "urllib3")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        scenario: the scenario that measured it.
        what: its name, the same in every run, so that runs can be compared.
        value: `None` if it was not observed or cannot be measured here; `remark` says why.
        unit: the value's unit; empty for a ratio or a count.
        at_most: the goal, where smaller is better.
        at_least: the goal, where bigger is better.
        remark: further observations.
    """

    scenario: str
    what: str
    value: float | None
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    remark: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; `None` without a goal or a value."""
        if self.value is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


def median(values: Sequence[float]) -> float | None:
    """Return the median; `None` for no values."""
    return statistics.median(values) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile by nearest rank; `None` for no values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def milliseconds(seconds: float | None) -> float | None:
    """Convert seconds to milliseconds."""
    return None if seconds is None else seconds * 1000


def show(rows: Sequence[Row]) -> str:
    """Return all figures as a Markdown table."""
    table = [("scenario", "what", "figure", "to reach", "reached", "remark"), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |".rstrip()
        for line in table
    ]
    lines.insert(1, f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    goal = ""
    if row.at_most is not None:
        goal = f"<= {row.at_most:g} {row.unit}".rstrip()
    if row.at_least is not None:
        goal = f">= {row.at_least:g} {row.unit}".rstrip()
    decision = {True: "yes", False: "no", None: ""}[row.reached]
    return row.scenario, row.what, _figure(row), goal, decision, row.remark


def _figure(row: Row) -> str:
    if row.value is None:
        return "none"
    digits = 0 if row.value == int(row.value) or abs(row.value) >= 100 else 1 if abs(row.value) >= 10 else 2
    return f"{row.value:,.{digits}f} {row.unit}".rstrip()


def describe_machine(kubernetes: str) -> dict[str, Any]:
    """Return the environment of the measurement; `kubernetes` is the API server's version."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {
        "commit": _describe_commit(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": memory_mib,
        "load_before": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes": kubernetes,
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def _describe_commit() -> str:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--tags"],
            cwd=_ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_json(file: Path, machine: dict[str, Any], rows: Sequence[Row], took_seconds: float) -> None:
    """Write machine and figures as JSON."""
    figures = [asdict(row) | {"reached": row.reached} for row in rows]
    document = {"machine": machine, "took_seconds": round(took_seconds, 1), "figures": figures}
    file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
