"""The examples of the source document, as `curl -d` sends them, with its configuration."""

import json
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

SEED = Path(__file__).parents[1] / "data" / "seed"
CURL = {"content_type": "application/x-www-form-urlencoded", "headers": {"User-Agent": "curl/8.5.0", "Accept": "*/*"}}


def read(name: str) -> str:
    return (SEED / name).read_text("utf-8")


@pytest.fixture
def seed_caller(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Send requests to the application with the documented configuration while its dispatcher runs."""
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    app = create_app(Settings(configuration=read("configuration.json"), kubeconfig=str(kubeconfig)))
    dispatcher = app.extensions["slimfaas-jobs"].dispatcher
    dispatcher.start()
    yield Caller(app.test_client())
    dispatcher.stop()


def stored(batch: client.BatchV1Api, namespace: str) -> Any:
    (job,) = batch.list_namespaced_job(namespace).items
    return job


def wait_for(caller: Caller, location: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (run := caller.get(location).json)["Status"] != status:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return dict(run)


@pytest.mark.embedded_only("the nodes of the real control plane run no processes")
def test_first_example__waits_for_fibonacci1_and_prints_the_result(
    seed_caller: Caller, server: Server, namespace: str
) -> None:
    accepted = seed_caller.post("/job/fibonacci", read("request-args.json"), **CURL)
    assert accepted.status_code == 202
    location = accepted.headers["Location"]
    assert "fibonacci1" in wait_for(seed_caller, location, "Queued")["Message"]

    labels = {"app": "fibonacci1"}
    pod = {"containers": [{"name": "fibonacci1", "image": "busybox:1", "args": ["sleep", "60"]}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    client.AppsV1Api(server.admin).create_namespaced_deployment(
        namespace,
        {"metadata": {"name": "fibonacci1"}, "spec": {"selector": {"matchLabels": labels}, "template": template}},
    )

    run = wait_for(seed_caller, location, "Succeeded")
    core = client.CoreV1Api(server.admin)
    (started,) = core.list_namespaced_pod(namespace, label_selector=f"batch.kubernetes.io/job-name={run['Name']}").items
    assert core.read_namespaced_pod_log(started.metadata.name, namespace).split()[0] == "267914296"
    assert run["PositionInQueue"] == -1


def test_second_example__overrides_what_it_names(seed_caller: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    accepted = seed_caller.post("/job/fibonacci", read("request-full.json"), **CURL)
    assert accepted.status_code == 202, accepted.text

    job = stored(batch, namespace)
    container = job.spec.template.spec.containers[0]
    assert container.image == "axaguildev/fibonacci-batch:1.0.1"
    assert container.args == ["42", "43"]
    assert container.resources.requests == container.resources.limits == {"cpu": "200m", "memory": "200Mi"}
    assert json.loads(job.metadata.annotations["slimfaas.dev/depends-on"]) == ["fibonacci2"]
    assert (job.spec.backoff_limit, job.spec.ttl_seconds_after_finished) == (1, 100)
    assert job.spec.template.spec.restart_policy == "Never"
    assert job.spec.suspend
    assert "fibonacci2" in wait_for(seed_caller, accepted.headers["Location"], "Queued")["Message"]


def test_request_without_a_body__uses_the_definitions_values(
    seed_caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    assert seed_caller.post("/job/fibonacci").status_code == 202

    job = stored(batch, namespace)
    container = job.spec.template.spec.containers[0]
    assert container.image == "axaguildev/fibonacci-batch:latest"
    assert container.args is None
    assert container.resources.limits == {"cpu": "400m", "memory": "400Mi"}
    assert job.spec.ttl_seconds_after_finished == 36000


def test_first_example__with_a_path_passes_it_to_the_run(
    seed_caller: Caller, batch: client.BatchV1Api, namespace: str
) -> None:
    seed_caller.post("/job/fibonacci/any/suffix", read("request-args.json"), **CURL)
    variables = stored(batch, namespace).spec.template.spec.containers[0].env
    assert {variable.name: variable.value for variable in variables}["SLIMFAAS_JOB_PATH"] == "any/suffix"
