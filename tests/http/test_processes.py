"""Arguments, variables, path and query of a request reach the run's process byte for byte."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import Caller
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.embedded_only("the nodes of the real control plane run no processes")


TEXTS = [
    "",
    " ",
    "-n",
    "--",
    "$",
    "$$",
    "$$$",
    "$(SECRET)",
    "$$(SECRET)",
    "$(SECRET",
    "$SECRET ${SECRET} `id`",
    "$(UNKNOWN)",
    "a 'b' \"c\" \\d \\\\",
    "one\ntwo\r\n\tthree\n",
    "%s %d %%",
    "*?[a]{b,c}~;|&<>#!",
    "\u00e9 \u4f60\u597d \U0001f600 \u202e \ufeff \ufffd \x7f",
    "{}",
    "null",
    "x" * 10_000,
]
"""Texts that shells, templates or Kubernetes' expansion of `$(NAME)` would change."""

REPORT = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"

DEFINITIONS: dict[str, Any] = {
    "Configurations": {
        "report": {
            "Image": "busybox:1",
            "Visibility": "Public",
            "NumberParallelJob": 4,
            "Environments": [{"Name": "SECRET", "Value": "hidden"}, {"Name": "GREETING", "Value": "hello $(SECRET)"}],
            "Args": [sys.executable, "-I", "-c", REPORT, "$(SECRET)", "$$(SECRET)", "$(SLIMFAAS_JOB_ID)"],
        }
    }
}


@pytest.fixture
def dispatching(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Send requests to the application while its dispatcher runs."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    app = create_app(Settings(configuration=json.dumps(DEFINITIONS), kubeconfig=str(kubeconfig)))
    dispatcher = app.extensions["slimfaas-jobs"].dispatcher
    dispatcher.start()
    yield Caller(app.test_client())
    dispatcher.stop()


def finish(caller: Caller, location: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (run := caller.get(location).json)["Status"] not in ("Succeeded", "Failed"):
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return dict(run)


def output(server: Server, namespace: str, run: dict[str, Any]) -> str:
    core = client.CoreV1Api(server.admin)
    (pod,) = core.list_namespaced_pod(namespace, label_selector=f"batch.kubernetes.io/job-name={run['Name']}").items
    response = core.read_namespaced_pod_log(pod.metadata.name, namespace, _preload_content=False)
    return bytes(response.data).decode("utf-8")


def test_process__gets_arguments_variables_path_and_query_unchanged(
    dispatching: Caller, server: Server, namespace: str
) -> None:
    """Nothing expands, unquotes, trims or encodes them."""
    body = {
        "Args": [sys.executable, "-I", "-c", REPORT, *TEXTS],
        "Environments": [{"Name": f"TEXT_{index}", "Value": text} for index, text in enumerate(TEXTS)],
    }
    url = "/job/report/$(SECRET)/%24%24/a%20b//%C3%A9/.../'%22/?q=$(SECRET)&$$=%24%00%2F+'&x"
    accepted = dispatching.post(url, json.dumps(body))
    assert accepted.status_code == 202, accepted.text
    run = finish(dispatching, accepted.headers["Location"])

    assert run["Status"] == "Succeeded"
    arguments, environment = json.loads(output(server, namespace, run))
    assert arguments == TEXTS
    assert [environment[f"TEXT_{index}"] for index in range(len(TEXTS))] == TEXTS
    assert environment["SLIMFAAS_JOB_PATH"] == "$(SECRET)/$$/a b//\u00e9/.../'\"/"
    assert environment["SLIMFAAS_JOB_QUERY"] == "q=$(SECRET)&$$=%24%00%2F+'&x"
    assert environment["SLIMFAAS_JOB_NAME"] == "report"
    assert environment["SLIMFAAS_JOB_ID"] == accepted.json["Id"]


def test_process__gets_the_definitions_values_expanded_by_kubernetes(
    dispatching: Caller, server: Server, namespace: str
) -> None:
    """The author of the configuration may refer to other variables."""
    accepted = dispatching.post("/job/report")
    run = finish(dispatching, accepted.headers["Location"])
    arguments, environment = json.loads(output(server, namespace, run))

    assert arguments == ["hidden", "$(SECRET)", accepted.json["Id"]]
    assert environment["GREETING"] == "hello hidden"


def test_process__gets_a_shell_script_unchanged(dispatching: Caller, server: Server, namespace: str) -> None:
    script = 'printf "%s|" "$X" "$(printf inner)" \'$(printf quoted)\'; exit 3'
    body = {"Args": ["sh", "-c", script], "Environments": [{"name": "X", "value": "a  b\n"}], "BackoffLimit": 0}
    accepted = dispatching.post("/job/report", json.dumps(body))
    run = finish(dispatching, accepted.headers["Location"])

    assert output(server, namespace, run) == "a  b\n|inner|$(printf quoted)|"
    assert run["Status"] == "Failed"
    assert run["Reason"] == "BackoffLimitExceeded"
    assert run["ExitCode"] == 3
    assert run["Result"] == "a  b\n|inner|$(printf quoted)|"
    assert run["Args"] == ["sh", "-c", script]
    assert run["InQueueTimestamp"] <= run["StartTimestamp"] + 1000
    assert run["StartTimestamp"] <= run["EndTimestamp"]
