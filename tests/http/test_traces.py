"""A caller's trace goes on in the run, and where OpenTelemetry is there, through the service."""

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
def calling(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Calls the application while a dispatcher runs."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    with dispatching(kubeconfig, DEFINITIONS):
        yield make_caller(kubeconfig, DEFINITIONS)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Takes the spans of the application."""
    found = InMemorySpanExporter()
    set_up_spans(SimpleSpanProcessor(found))
    yield found
    end_spans()


def jobs(server: Server, namespace: str) -> Any:
    return client.BatchV1Api(server.admin).list_namespaced_job(namespace).items


def variables(server: Server, namespace: str) -> dict[str, str]:
    """What the one run of the test gets for its environment, names given once each."""
    (job,) = jobs(server, namespace)
    env = job.spec.template.spec.containers[0].env
    assert len({variable.name for variable in env}) == len(env)
    return {variable.name: unescape(variable.value) for variable in env if variable.name.startswith("TRACE")}


@pytest.mark.embedded_only("the nodes of the real control plane run no processes")
def test_a_trace_reaches_the_process_of_the_run(calling: Caller, server: Server, namespace: str) -> None:
    """As the caller has sent it, whatever Kubernetes would make of its characters."""
    accepted = calling.post("/job/report", headers=HEADERS)
    run = wait_for(calling, accepted.headers["Location"], has(Status="Succeeded"))
    assert json.loads(calling.get(f"{accepted.headers['Location']}/logs").text) == {
        "TRACEPARENT": TRACEPARENT,
        "TRACESTATE": TRACESTATE,
    }
    (job,) = jobs(server, namespace)
    assert job.metadata.annotations["slimfaas.dev/traceparent"] == TRACEPARENT
    assert {"TRACEPARENT", "TRACESTATE"} <= set(run["Environments"])


def test_an_invalid_trace_is_ignored(calling: Caller, server: Server, namespace: str) -> None:
    """The run is started without one."""
    start_answer = calling.post("/job/report", headers={"traceparent": TRACEPARENT.upper(), "tracestate": TRACESTATE})
    assert start_answer.status_code == 202
    assert variables(server, namespace) == {}
    assert "slimfaas.dev/traceparent" not in jobs(server, namespace)[0].metadata.annotations


def test_what_the_definition_sets_wins(calling: Caller, server: Server, namespace: str) -> None:
    """And there is no state of another trace beside it."""
    assert calling.post("/job/own", headers=HEADERS).status_code == 202
    assert variables(server, namespace) == {"TRACEPARENT": "mine"}


def test_what_the_request_sets_wins(calling: Caller, server: Server, namespace: str) -> None:
    """Each variable for itself, as long as the trace is the caller's."""
    body = json.dumps({"Environments": [{"Name": "TRACESTATE", "Value": "mine=1"}]})
    assert calling.post("/job/report", body, headers=HEADERS).status_code == 202
    assert variables(server, namespace) == {"TRACEPARENT": TRACEPARENT, "TRACESTATE": "mine=1"}


def test_a_dry_run_shows_the_callers_own_trace(calling: Caller) -> None:
    """It has nothing to hide there; the definition's value it does hide."""
    own = calling.post("/job/own?dryRun=true", headers=HEADERS).json
    assert {"name": "TRACEPARENT"} in own["spec"]["template"]["spec"]["containers"][0]["env"]
    report = calling.post("/job/report?dryRun=true", headers=HEADERS).json
    env = report["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TRACEPARENT", "value": TRACEPARENT} in env


def test_spans_tell_of_the_call_what_it_asked_and_the_admission(
    calling: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """One trace: the caller's span, the call, the create, the admission, and the run below the call."""
    accepted = calling.post("/job/report", headers={**HEADERS, "X-Request-Id": "the-call"})
    wait_for(calling, accepted.headers["Location"], lambda run: run["Status"] != "Queued")
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


def test_a_call_without_a_trace_begins_one(
    calling: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """Which the run continues; what is wrong is an error of ours only from 500 on."""
    start(calling, "report")
    assert calling.get("/job/report/nothing").status_code == 404
    found = {span.name: span for span in exporter.get_finished_spans() if span.name.startswith(("POST", "GET /job"))}
    call = found["POST /job/<name>"]
    assert call.parent is None
    assert f"{call.context.trace_id:032x}" in variables(server, namespace)["TRACEPARENT"]
    assert found["GET /job/<name>/<run_id>"].status.is_unset


def test_unsampled_traces_stay_so(
    calling: Caller, exporter: InMemorySpanExporter, server: Server, namespace: str
) -> None:
    """The caller decides; the trace is passed on all the same."""
    calling.post("/job/report", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert variables(server, namespace)["TRACEPARENT"].startswith(f"00-{TRACE}-")
    assert variables(server, namespace)["TRACEPARENT"].endswith("-00")
    assert not [span for span in exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
