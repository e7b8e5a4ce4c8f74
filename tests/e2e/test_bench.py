"""The benchmarks' scenarios and report."""

import json
import os
import re
from pathlib import Path

import pytest

from benchmarks.bench.__main__ import run
from benchmarks.bench.cluster import TINY, BenchCluster
from benchmarks.bench.report import Row, median, percentile
from benchmarks.bench.scenarios import SCENARIOS
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.support.selection import slow
from tests.support.servers import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name",
    # A handover waits for a lease to end.
    ["accepted", *slow(*(name for name in SCENARIOS if name not in ("accepted", "handover")))],
)
def test_scenario__reports_every_figure(server: Server, tmp_path: Path, name: str) -> None:
    """In its smallest form each scenario ends, and every figure has a value or a remark."""
    file = tmp_path / "figures.json"
    audit_log = os.environ.get(AUDIT_LOG_VARIABLE)
    cluster = BenchCluster(server, TINY, tmp_path, audit_log=Path(audit_log) if audit_log else None, programs={})
    assert run(cluster, [name], file, {}) == 0
    figures = json.loads(file.read_text())["figures"]
    assert {figure["scenario"] for figure in figures} == {name}
    assert [figure["what"] for figure in figures if figure["value"] is None and not figure["remark"]] == []


def test_performance_page__explains_every_scenario() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == SCENARIOS.keys()


def test_percentile__is_the_nearest_rank() -> None:
    """An empty sequence has no percentile."""
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([], 50) is None
    assert median([]) is None


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        (Row("s", "at the limit", 2.0, at_most=2), True),
        (Row("s", "above it", 2.1, at_most=2), False),
        (Row("s", "below the least", 0.4, at_least=0.5), False),
        (Row("s", "no goal", 1.0), None),
        (Row("s", "never seen", None, at_most=2), None),
    ],
)
def test_row__reached_is_none_without_a_goal_or_a_value(row: Row, reached: bool | None) -> None:
    assert row.reached is reached
