"""The alert rules on recorded samples, tested by Prometheus' promtool: each fires when it should, and only then."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.promtool.build import PromtoolUnavailable, find_promtool
from tests.support.selection import slow
from tests.support.waiting import DEADLINE_SECONDS

HERE = Path(__file__).resolve().parent
MONITORING = HERE.parents[1] / "k8s" / "components" / "monitoring"
RULES = MONITORING / "alerts.yaml"

pytestmark = pytest.mark.needs_promtool


@pytest.fixture(scope="session")
def promtool(request: pytest.FixtureRequest) -> Path:
    """Return the path of promtool; only `make e2e` builds it."""
    try:
        return find_promtool(build=request.config.getoption("--server") == "real")
    except PromtoolUnavailable as reason:
        pytest.skip(str(reason))


def run(promtool: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the rules and their test."""
    shutil.copy(RULES, tmp_path / "alerts.yaml")
    shutil.copy(HERE / "alerts_test.yaml", tmp_path / "alerts_test.yaml")
    return tmp_path


def test_rules__are_valid(promtool: Path, folder: Path) -> None:
    ended = run(promtool, "check", "rules", "alerts.yaml", folder=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_dashboard__every_query_is_valid(promtool: Path, tmp_path: Path) -> None:
    """As Grafana sends it."""
    panels = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 20
    rules = [
        {"record": f"panel_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    ended = run(promtool, "check", "rules", "panels.yaml", folder=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_alerts__fire_when_they_should(promtool: Path, folder: Path) -> None:
    """And not when all is well, or when a problem ends soon."""
    ended = run(promtool, "test", "rules", "alerts_test.yaml", folder=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("< 1 or absent", "< 0 or absent"),
        ("for: 2m", "for: 0m"),
        *slow(
            (" or absent(slimfaas_jobs_dispatcher_leading)", ""),
            ("for: 15m", "for: 5m"),
            (
                "< max by (namespace, definition) (slimfaas_jobs_slots)",
                "<= max by (namespace, definition) (slimfaas_jobs_slots)",
            ),
            ("> 3600", "> 7200"),
            ('outcome=~"refused|unanswered"', 'outcome="refused"'),
            ("[10m])) > 3", "[10m])) > 0"),
            ("(slimfaas_jobs_runs_in_doubt) > 0", "(slimfaas_jobs_runs_in_doubt) > 2"),
            ('code=~"5..|unreachable|unanswered"', 'code=~"[45].."'),
            ('{reason!="ended"}', ""),
            ("(slimfaas_jobs_configuration_refused) > 0", "(slimfaas_jobs_configuration_refused) > 1"),
            ('code=~"5..",call!~"health.*"', 'code=~"5.."'),
            ("> 0.97", "> 0.9"),
        ),
    ],
)
def test_alerts__samples_reveal_a_wrong_rule(promtool: Path, folder: Path, right: str, wrong: str) -> None:
    """The samples distinguish each rule from similar ones."""
    rules = (folder / "alerts.yaml").read_text("utf-8")
    assert right in rules
    (folder / "alerts.yaml").write_text(rules.replace(right, wrong), "utf-8")
    assert run(promtool, "test", "rules", "alerts_test.yaml", folder=folder).returncode != 0
