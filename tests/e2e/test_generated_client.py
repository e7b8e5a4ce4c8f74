"""A Python client that openapi-python-client has generated calls every operation, as a person would use it."""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.callers import Replica
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.embedded_only("the nodes of the real control plane run no processes"),
]

_PACKAGE = "slim_faas_jobs_client"

_DEFINITIONS = {
    "runs": {"Image": "busybox:1", "Args": ["echo", "hello"], "Visibility": "Public"},
    "waits": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]},
}


class GeneratedClient:
    """The generated client, with every operation by its operationId.

    Args:
        client: an instance of its `Client`.

    Attributes:
        called: the operations that have been called.
        operations: all operations.
    """

    def __init__(self, client: Any) -> None:
        api = import_module(f"{_PACKAGE}.api")
        self.operations = {
            name.rpartition(".")[2]: import_module(name)
            for _, name, is_package in pkgutil.walk_packages(api.__path__, f"{api.__name__}.")
            if not is_package
        }
        self.called: set[str] = set()
        self._models = import_module(f"{_PACKAGE}.models")
        self._client = client

    def call(self, operation: str, *arguments: str, expected: int = 200, **parameters: Any) -> Any:
        """Call an operation, and return what the client has made of the response."""
        self.called.add(operation)
        response = self.operations[operation].sync_detailed(*arguments, client=self._client, **parameters)
        assert response.status_code == expected, response.content
        return response.parsed

    def model(self, name: str, value: Any) -> Any:
        """Return a model of the client, made of an object or a string in JSON."""
        model = getattr(self._models, name)
        return model.from_dict(value) if isinstance(value, dict) else model(value)


@pytest.fixture
def service(replica: Replica) -> Iterator[ServiceProcess]:
    """Run a replica of the service."""
    with replica(_DEFINITIONS) as running:
        yield running


@pytest.fixture
def client(service: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GeneratedClient]:
    """Generate the client of the service's own description."""
    description, config = tmp_path / "openapi.json", tmp_path / "config.yaml"
    description.write_bytes(requests.get(f"{service.url}/openapi.json", timeout=DEADLINE_SECONDS).content)
    config.write_text('{"post_hooks": []}', "utf-8")
    command = [
        str(Path(sys.executable).with_name("openapi-python-client")),
        "generate",
        f"--path={description}",
        f"--config={config}",
        "--meta=none",
        f"--output-path={tmp_path / _PACKAGE}",
        "--fail-on-warning",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    with import_module(_PACKAGE).Client(base_url=service.url, timeout=DEADLINE_SECONDS) as client:
        yield GeneratedClient(client)


def test_generated_client__works_for_every_operation(client: GeneratedClient) -> None:
    accepted = client.call("jobs_start", "waits", expected=202)
    assert (type(accepted).__name__, accepted.status) == ("Accepted", "Queued")

    waited = client.call("jobs_start", "waits", prefer="wait=1", idempotency_key="once", expected=202)
    assert waited.status == "Queued"
    assert waited.message == "waits for nobody (not found)"
    assert waited.position_in_queue == 2
    assert client.call("jobs_start", "waits", idempotency_key="once", expected=202).id == waited.id

    job = client.call("jobs_start", "waits", dry_run=True, query=client.model("JobsStartQuery", {"color": "red"}))
    assert (type(job).__name__, job.kind) == ("Job", "Job")
    assert "color=red" in json.dumps(job.to_dict())

    variable = client.model("RequestVariable", {"Name": "COLOR", "Value": "red"})
    body = client.model("Request", {"Args": ["echo", "42"], "TtlSecondsAfterFinished": 3600})
    body.environments = [variable]
    ended = client.call("jobs_start", "runs", body=body, prefer="wait=60")
    assert (type(ended).__name__, ended.status, ended.exit_code) == ("Run", "Succeeded", 0)
    assert client.call("runs_read", "runs", ended.id, prefer="wait=60").args == ["echo", "42"]
    assert "COLOR" in ended.environments
    assert client.call("logs_read", "runs", ended.id, follow=True, tail_lines=1) == "42\n"

    queued = client.model("RunsReadManyStatusItem", "Queued")
    first = client.call("runs_read_many", "waits", limit=1, status=[queued])
    assert [run.id for run in first] == [waited.id]
    assert client.call("runs_cancel", "waits", waited.id).id == waited.id
    assert client.call("runs_empty", "waits", status="Queued").deleted == 1
    assert client.call("runs_read", "waits", "aaaaaaaaaaaa", expected=404).detail == "there is no such run"

    body = client.model("RequestSchedule", {"Schedule": "0 0 1 1 *", "TimeZone": "Europe/Paris", "Args": ["42"]})
    would_be = client.call("schedules_create", "waits", body=body, dry_run=True)
    assert (type(would_be).__name__, would_be.kind) == ("CronJob", "CronJob")
    schedule = client.call("schedules_create", "waits", body=body, idempotency_key="once", expected=201)
    assert client.call("schedules_create", "waits", body=body, idempotency_key="once", expected=201).id == schedule.id
    assert client.call("schedules_read", "waits", schedule.id).time_zone == "Europe/Paris"
    assert [one.id for one in client.call("schedules_read_many", "waits")] == [schedule.id]
    change = client.model("RequestScheduleChange", {"Suspend": True})
    assert client.call("schedules_change", "waits", schedule.id, body=change).status == "Suspended"
    assert client.call("schedules_delete", "waits", schedule.id, expected=204) is None
    assert client.call("schedules_read", "waits", schedule.id, expected=404).detail == "there is no such schedule"

    for name in ("status_read", "status_read_for_slimfaas"):
        assert {definition.name for definition in client.call(name)} == set(_DEFINITIONS)
    assert client.call("health_live")
    assert client.call("health_ready").dispatcher
    assert "slimfaas_jobs_slots" in client.call("metrics_read")
    assert client.call("description_read_document").to_dict()["openapi"].startswith("3.1")
    assert client.call("description_read_page").startswith("<!")
    assert client.call("definitions_read", "waits").depends_on == ["nobody"]
    assert client.call("ui_read_page").startswith("<!")
    assert "import" in client.call("ui_read_file", "app.js")
    assert client.call("entry_read").to_dict()
    assert client.called == client.operations.keys()
