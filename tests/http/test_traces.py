"""The caller's trace continues in the run and, if OpenTelemetry is installed, in the service."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.kube.manifests import unescape
from app.telemetry.spans import end_spans, set_up_spans
from tests.http.clients import Caller
from tests.http.dispatching import dispatching, has, make_caller, start, wait_for
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
TRACESTATE = "congo=t61$(HOME)rcWkgMzE,rojo=00f067aa0ba902b7"
HEADERS = {"traceparent": TRACEPARENT, "tracestate": TRACESTATE}

REPORT = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('TRACE')}))"

DEFINITIONS: dict[str, Any] = {
    "Configurations": {
        "report": {"Image": "busybox:1", "Visibility": "Public", "Args": [sys.executable, "-I", "-c", REPORT]},
        "own": {
            "Image": "busybox:1",
            "Visibility": "Public",
            "Args": [sys.executable, "-I", "-c", REPORT],
            "Environments": [{"Name": "TRACEPARENT", "Value": "mine"}],
        },
    }
}


@pytest.fixture
def live_caller(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Send requests to the application while a dispatcher runs."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with dispatching(kubeconfig, DEFINITIONS):
        yield make_caller(kubeconfig, DEFINITIONS)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Collect the spans of the application."""
    found = InMemorySpanExporter()
    set_up_spans(SimpleSpanProcessor(found))
    yield found
    end_spans()


def jobs(server: Server, namespace: str) -> Any:
    return client.BatchV1Api(server.admin).list_namespaced_job(namespace).items


def variables(server: Server, namespace: str) -> dict[str, str]:
    """Return the trace variables of the test's only run, whose names must be unique."""
    (job,) = jobs(server, namespace)
    env = job.spec.template.spec.containers[0].env
    assert len({variable.name for variable in env}) == len(env)
    return {variable.name: unescape(variable.value) for variable in env if variable.name.startswith("TRACE")}


@pytest.mark.embedded_only("the nodes of the real control plane run no processes")
def test_trace__reaches_the_process_of_the_run_unchanged(live_caller: Caller, server: Server, namespace: str) -> None:
    accepted = live_caller.post("/job/report", headers=HEADERS)
    run = wait_for(live_caller, accepted.headers["Location"], has(Status="Succeeded"))
    assert json.loads(live_caller.get(f"{accepted.headers['Location']}/logs").text) == {
        "TRACEPARENT": TRACEPARENT,
        "TRACESTATE": TRACESTATE,
    }
    (job,) = jobs(server, namespace)
    assert job.metadata.annotations["slimfaas.dev/traceparent"] == TRACEPARENT
    assert {"TRACEPARENT", "TRACESTATE"} <= set(run["Environments"])


def test_trace__is_ignored_if_invalid(live_caller: Caller, server: Server, namespace: str) -> None:
    response = live_caller.post("/job/report", headers={"traceparent": TRACEPARENT.upper(), "tracestate": TRACESTATE})
    assert response.status_code == 202
    assert variables(server, namespace) == {}
    assert "slimfaas.dev/traceparent" not in jobs(server, namespace)[0].metadata.annotations


def test_trace__does_not_override_the_variables_of_the_definition(
    live_caller: Caller, server: Server, namespace: str
) -> None:
    """`TRACESTATE` is not set either, because it would belong to another trace."""
    assert live_caller.post("/job/own", headers=HEADERS).status_code == 202
    assert variables(server, namespace) == {"TRACEPARENT": "mine"}


def test_trace__does_not_override_the_variables_of_the_request(
    live_caller: Caller, server: Server, namespace: str
) -> None:
    body = json.dumps({"Environments": [{"Name": "TRACESTATE", "Value": "mine=1"}]})
    assert live_caller.post("/job/report", body, headers=HEADERS).status_code == 202
    assert variables(server, namespace) == {"TRACEPARENT": TRACEPARENT, "TRACESTATE": "mine=1"}


def test_trace__is_shown_by_a_dry_run(live_caller: Caller) -> None:
    """A value of the definition is hidden as always."""
    own = live_caller.post("/job/own?dryRun=true", headers=HEADERS).json
    assert {"name": "TRACEPARENT"} in own["spec"]["template"]["spec"]["containers"][0]["env"]
    report = live_caller.post("/job/report?dryRun=true", headers=HEADERS).json
    env = report["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TRACEPARENT", "value": TRACEPARENT} in env


def test_spans__cover_the_request_the_create_and_the_admission(
    live_caller: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """All belong to the caller's trace; the run's parent is the span of the request."""
    accepted = live_caller.post("/job/report", headers={**HEADERS, "X-Request-Id": "the-call"})
    wait_for(live_caller, accepted.headers["Location"], lambda run: run["Status"] != "Queued")
    # The span of the admission ends after the API server has stored it, when the answer has been read.
    until(lambda: any(span.name.startswith("adm") for span in exporter.get_finished_spans()))
    ours = [span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
    call, create, admit = (next(span for span in ours if span.name.startswith(name)) for name in ("POST", "cre", "adm"))
    assert call.name == "POST /job/<name>"
    assert f"{call.parent.span_id:016x}" == PARENT
    assert call.attributes is not None
    assert call.attributes["slimfaas.definition"] == "report"
    assert call.attributes["slimfaas.request_id"] == "the-call"
    assert call.attributes["http.response.status_code"] == 202
    assert create.parent.span_id == call.context.span_id
    assert create.attributes["http.response.status_code"] == 201
    assert admit.parent.span_id == call.context.span_id
    assert admit.start_time >= create.end_time - 1_000_000_000
    expected = f"00-{TRACE}-{call.context.span_id:016x}-01"
    assert variables(server, namespace) == {"TRACEPARENT": expected, "TRACESTATE": TRACESTATE}
    assert len(ours) == 3


def test_spans__begin_a_trace_if_the_request_has_none(
    live_caller: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """The run continues it. A 404 is not an error of the span."""
    start(live_caller, "report")
    assert live_caller.get("/job/report/nothing").status_code == 404
    found = {span.name: span for span in exporter.get_finished_spans() if span.name.startswith(("POST", "GET /job"))}
    call = found["POST /job/<name>"]
    assert call.parent is None
    assert f"{call.context.trace_id:032x}" in variables(server, namespace)["TRACEPARENT"]
    assert found["GET /job/<name>/<run_id>"].status.is_unset


def test_spans__are_not_exported_for_an_unsampled_trace(
    live_caller: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """The trace is passed on all the same."""
    live_caller.post("/job/report", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert variables(server, namespace)["TRACEPARENT"].startswith(f"00-{TRACE}-")
    assert variables(server, namespace)["TRACEPARENT"].endswith("-00")
    assert not [span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
