"""Metrics, alerts, the dashboard and the docs use the same names."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.telemetry.exposition import write_metrics
from app.telemetry.metrics import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s" / "components" / "monitoring"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
ALERTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))

OF_CONTAINERS = {"slimfaas_jobs_memory_working_set_bytes", "slimfaas_jobs_memory_limit_bytes"}
"""Exported only in a container, and one of them only with a memory limit."""

LOUD = {"warning", "error", "exception"}

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [
    variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
]


def exported() -> dict[str, set[str]]:
    """Every metric by the name that queries use, with its labels."""
    found: dict[str, set[str]] = {}
    for collector in list(REGISTRY._collector_to_names):
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        match collector._type:  # type: ignore[attr-defined]
            case "counter":
                found[f"{collector._name}_total"] = labels  # type: ignore[attr-defined]
            case "histogram":
                found |= {f"{collector._name}_{part}": labels | {"le"} for part in ("bucket", "sum", "count")}  # type: ignore[attr-defined]
            case _:
                found[collector._name] = labels  # type: ignore[attr-defined]
    text = write_metrics("", []).content.decode()
    for name in re.findall(r"^# TYPE (slimfaas_jobs_\w+) ", text, re.MULTILINE):
        if name.endswith(("_info", "_bytes")):
            found[name] = {"version", "python"}
    return found | {name: set() for name in OF_CONTAINERS}


def documented_names() -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *(alert["expr"] for alert in ALERTS)])
def test_queries__use_only_exported_metrics_and_labels(expression: str) -> None:
    metrics = exported()
    asked = re.findall(r"slimfaas_jobs_\w+", expression)
    assert asked
    of_prometheus = {"namespace", "pod", "le"}
    for name in asked:
        assert name in metrics, name
    known = set().union(*(metrics[name] for name in asked)) | of_prometheus
    for grouped in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r", *", grouped)) <= known, grouped
    for label in re.findall(r'(\w+)[!=]~?"', expression):
        assert label in known, label


def test_operations_page__has_a_row_for_each_metric_and_no_other() -> None:
    table = OPERATIONS.partition("## Metrics")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(slimfaas_jobs_\w+)` \|", table, re.MULTILINE))
    assert rows == documented_names()


def test_operations_page__has_every_label_of_a_metric() -> None:
    for name, labels in exported().items():
        shown = re.sub(r"_(bucket|sum|count)$", "", name)
        (row,) = re.findall(rf"^\| `{shown}` \| (.*)$", OPERATIONS, re.MULTILINE)
        for label in labels - {"le"}:
            assert f"`{label}`" in row, f"{shown}: {label}"


def test_dashboard__shows_every_metric() -> None:
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for text in EXPRESSIONS
        for name in re.findall(r"slimfaas_jobs_\w+", text)
    }
    assert shown == documented_names()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts__have_a_runbook(alert: dict[str, Any]) -> None:
    """What it means, the first commands, and the remedy."""
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor == alert["alert"].lower()
    section = OPERATIONS.partition(f"### {alert['alert']}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    assert "```sh" in section
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(commands.strip().splitlines()) == 3
    assert alert["labels"]["severity"] in ("critical", "warning")


def test_runbooks__have_an_alert() -> None:
    sections = re.findall(r"^### (SlimFaasJobs\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(sections) == sorted(alert["alert"] for alert in ALERTS)


def test_prometheus_rule__has_the_same_alerts() -> None:
    wrapped = yaml.safe_load((FOLDER / "prometheus-rule.yaml").read_text("utf-8"))
    assert wrapped["kind"] == "PrometheusRule"
    assert wrapped["spec"] == yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))


def test_dashboard__has_unique_ids_descriptions_and_no_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["description"].endswith(".") for panel in PANELS)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def log_lines() -> Iterator[str]:
    """The service's log lines of level warning and above, with … for their variable parts."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(ast.Attribute(ast.Name("log"), attr), [line, *_]) if attr in LOUD:
                    yield shown(line)
                case ast.Call(ast.Name("OutageLogger"), [ast.Name("log"), line, *_]):
                    yield shown(line)


def shown(line: ast.expr) -> str:
    """The text of a log line, which is a constant or an f-string."""
    parts = line.values if isinstance(line, ast.JoinedStr) else [line]
    text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
    return re.sub(r"(%[sd])+", "…", text)


def test_operations_page__explains_every_warning_and_error_line() -> None:
    lines = {line for line in log_lines() if line.strip("…: ")}  # what consists of an error alone has its own rows
    assert len(lines) > 20
    assert [line for line in sorted(lines) if f"`{line}" not in OPERATIONS] == []
