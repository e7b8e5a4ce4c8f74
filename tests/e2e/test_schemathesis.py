"""Thousands of generated requests, valid and invalid: every response is in the service's OpenAPI description."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.callers import Replica
from tests.support.waiting import DEADLINE_SECONDS

_EXAMPLES = 190
"""The highest number of generated requests per operation and phase."""

_CALLS = 2000
"""The lowest acceptable number of requests in all."""

_DEFINITIONS = {
    "queues": {
        "Image": "busybox:1",
        "ImagesWhitelist": ["*", "*:*", "*/*", "*/*:*"],
        "Visibility": "Public",
        "DependsOn": ["nobody"],
        "Resources": {"Requests": {"cpu": "1"}, "Limits": {"cpu": "1", "memory": "64Mi"}},
    },
    "runs": {"Image": "busybox:1", "Args": ["true"], "Visibility": "Public", "NumberParallelJob": 2},
    "private": {"Image": "busybox:1"},
}


_REACHED_BY_LINKS = {
    "GET /job/{name}/{id}",
    "DELETE /job/{name}/{id}",
    "DELETE /job/{name}",
    "GET /job/{name}/{id}/logs",
    "GET /job-schedules/{name}/{id}",
    "PATCH /job-schedules/{name}/{id}",
    "DELETE /job-schedules/{name}/{id}",
}
"""Operations that succeed only in requests that follow another one; schemathesis reports those without a label."""


_VALUES: dict[str, list[Any]] = {
    "name": ["runs", "queues", "private"],
    "follow": [False],
}
"""The values to generate for some parameters: existing definitions, and no request that lasts minutes."""


def prepared(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description with additions for schemathesis that it must not publish.

    Definitions are named, so that most requests reach one. Responses may have only the described keys, while real
    clients must accept others.
    """
    for schema in description["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    for operations in description["paths"].values():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in _VALUES:
                    parameter["schema"] = {"enum": _VALUES[parameter["name"]]}
                    parameter["example"] = _VALUES[parameter["name"]][0]
                if parameter["name"] == "Prefer":
                    parameter["example"] = "wait=0"
    return description


def interactions(report: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the operation, method and response status of each request of a run of schemathesis."""
    for line in report.read_text("utf-8").splitlines():
        event = json.loads(line)
        if recorder := event.get("ScenarioFinished", {}).get("recorder"):
            for interaction in recorder.get("interactions", {}).values():
                status = interaction["response"]["status_code"] if interaction["response"] else 0
                yield recorder["label"], interaction["request"]["method"], status


@pytest.mark.slow
@pytest.mark.embedded_only("thousands of Jobs, of which many would be run by a real node")
def test_generated_requests__get_only_described_responses(replica: Replica, tmp_path: Path) -> None:
    """All checks of schemathesis pass, without a 5xx; schemathesis.toml lists the disabled checks with reasons."""
    with replica(_DEFINITIONS) as service:
        schema = tmp_path / "openapi.json"
        description = requests.get(f"{service.url}/openapi.json", timeout=DEADLINE_SECONDS).json()
        schema.write_text(json.dumps(prepared(description)), "utf-8")
        report = tmp_path / "report.ndjson"
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
                "--no-color",
                "run",
                str(schema),
                f"--url={service.url}",
                f"--max-examples={_EXAMPLES}",
                f"--report-ndjson-path={report}",
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
        assert service.running
        assert service.get("/ready").status_code == 200
    calls = list(interactions(report))
    print(len(calls), *sorted(Counter(calls).items()), sep="\n")
    assert done.returncode == 0, done.stdout[-20_000:]
    assert len(calls) >= _CALLS
    assert not [call for call in calls if call[2] >= 500]
    # Check that the requests have reached every operation.
    reached = {(label, status) for label, _, status in calls if status < 300}
    missed = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}
    assert missed <= {label for label, _ in reached} | _REACHED_BY_LINKS
    assert "Traceback" not in service.log_text
