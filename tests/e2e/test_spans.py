"""OpenTelemetry: spans are sent if a collector is configured; otherwise OpenTelemetry is not loaded."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.callers import Replica
from tests.integration.dispatching import ROOT, until
from tests.support.waiting import DEADLINE_SECONDS

DEFINITIONS: dict[str, Any] = {"blocked": {"Image": "busybox:1", "Visibility": "Public", "DependsOn": ["nobody"]}}

LOADS = """
import json, sys
from app.factory import create_app
from app.settings import Settings
configuration = json.dumps({"Configurations": {"a": {"Image": "a:1"}}})
app = create_app(Settings(configuration=configuration, kubeconfig=sys.argv[1]))
app.test_client().get("/health")
app.test_client().get("/metrics")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""

MISSING = """
import sys
sys.modules["opentelemetry"] = None  # as where it is not installed
from app.telemetry.logs import set_up_logs
from app.telemetry.spans import request_span, end_spans, current_context, set_up_spans
set_up_logs("text", "INFO")
set_up_spans()
with request_span("call", None):
    assert current_context() is None
end_spans()
"""


class Collector:
    """A fake collector of spans.

    Attributes:
        received: the path and body of every request.
        url: its URL.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Provide a running collector."""
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.mark.slow
def test_worker__sends_its_spans_to_the_collector(replica: Replica, collector: Collector) -> None:
    """The worker exports them itself, not the process it was forked from; the last ones are sent on shutdown."""
    with replica(DEFINITIONS, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100") as service:
        assert service.post("/job/blocked").status_code == 202
        until(lambda: any(b"POST /job/<name>" in body for _, body in collector.received))
        assert service.get("/job/blocked/nothing").status_code == 404
        assert service.stop() == 0
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    sent = b"".join(body for _, body in collector.received)
    assert b"GET /job/<name>/<run_id>" in sent
    assert b"create jobs" in sent
    assert b"slimfaas-jobs" in sent


@pytest.mark.slow
def test_unreachable_collector__does_not_affect_requests_or_shutdown(replica: Replica) -> None:
    with replica(DEFINITIONS, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as service:
        assert service.post("/job/blocked").status_code == 202
        assert service.stop() == 0


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )


@pytest.mark.slow
def test_without_collector__opentelemetry_is_not_imported(tmp_path: Path) -> None:
    """Even if it is installed."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], "
        'clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: u, user: {}}]}'
    )
    assert run(LOADS, str(kubeconfig)).stdout == "[]\n"


def test_collector_without_the_extra__is_logged() -> None:
    """The service continues without spans."""
    (line,) = run(MISSING).stderr.splitlines()
    assert line.endswith("no spans are recorded: a collector is set, but slimfaas-jobs[opentelemetry] is not installed")
