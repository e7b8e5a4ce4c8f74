"""Definitions with a template, on an API server: what runs are made of, and templates that it does not accept."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.definitions.registry import Registry
from app.definitions.template_checker import TemplateChecker
from app.factory import create_app
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.settings import Settings
from schemas.configuration import parse_value
from tests.http.clients import Caller, check_problem
from tests.support.fault_rules import Fault, Refuse
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until

Json = dict[str, Any]

WHOLE: Json = {
    "metadata": {"labels": {"team": "data"}, "annotations": {"contact": "data@example.org"}},
    "spec": {
        "backoffLimit": 2,
        "template": {
            "metadata": {"labels": {"team": "data"}, "annotations": {"contact": "data@example.org"}},
            "spec": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "imagePullSecrets": [{"name": "registry"}],
                "volumes": [
                    {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "keys", "secret": {"secretName": "the-keys"}},
                ],
                "initContainers": [
                    {"name": "fetch", "image": "busybox:1", "command": ["true"]},
                    {"name": "proxy", "image": "busybox:1", "command": ["sleep", "60"], "restartPolicy": "Always"},
                ],
                "containers": [
                    {
                        "name": "main",
                        "image": "busybox:1",
                        "args": ["echo", "hello"],
                        "env": [{"name": "PASSWORD", "value": "the-value"}],
                        "envFrom": [{"secretRef": {"name": "the-secret"}}],
                        "resources": {"limits": {"cpu": "1"}},
                        "volumeMounts": [
                            {"name": "scratch", "mountPath": "/scratch"},
                            {"name": "keys", "mountPath": "/keys", "readOnly": True},
                        ],
                    }
                ],
                "restartPolicy": "Never",
            },
        },
    },
}


def template(**pod: Any) -> Json:
    """A template with one container and these fields of the pod."""
    containers = [{"name": "main", "image": "busybox:1"}]
    return {"spec": {"template": {"spec": {"containers": containers, **pod}}}}


REFUSED = template(tolerations=[{"key": "gpu", "operator": "Perhaps"}])
UNKNOWN_FIELD = template(nodeSelectors={"pool": "gpu"})

Serve = Callable[..., Caller]


@pytest.fixture
def serve(server: Server, namespace: str, tmp_path: Path) -> Serve:
    """Return a function that builds the application with templates of public definitions."""

    def build(**templates: Json) -> Caller:
        configurations = {name: {"JobTemplate": job, "Visibility": "Public"} for name, job in templates.items()}
        configuration = json.dumps({"Configurations": configurations})
        kubeconfig = str(write_kubeconfig(tmp_path, server, namespace))
        return Caller(create_app(Settings(configuration=configuration, kubeconfig=kubeconfig)).test_client())

    return build


@pytest.fixture
def checker(server: Server, namespace: str, tmp_path: Path) -> Iterator[Callable[..., TemplateChecker]]:
    """Return a function that makes a checker of templates; it is stopped afterwards."""
    made: list[TemplateChecker] = []

    def build(registry: Registry, url: str | None = None) -> TemplateChecker:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, **({} if url is None else {"url": url}))
        made.append(TemplateChecker(NamespacedClient(connect(str(kubeconfig), namespace)), registry))
        return made[-1]

    yield build
    for one in made:
        one.stop()


def registry_of(**templates: Json) -> Registry:
    """The registry of definitions with these templates."""
    return Registry(parse_value({"Configurations": {name: {"JobTemplate": job} for name, job in templates.items()}}))


def test_post__makes_a_run_of_the_whole_template(serve: Serve, batch: client.BatchV1Api, namespace: str) -> None:
    response = serve(train=WHOLE).post("/job/train", '{"Args": ["echo", "$(PASSWORD)"]}')

    assert response.status_code == 202, response.text
    job = batch.read_namespaced_job(response.get_json()["Name"], namespace)
    pod = job.spec.template.spec
    assert job.metadata.labels["team"] == "data"
    assert job.metadata.annotations["contact"] == "data@example.org"
    assert (job.spec.suspend, job.spec.backoff_limit) == (True, 2)
    assert job.spec.template.metadata.annotations["kubectl.kubernetes.io/default-container"] == "main"
    assert pod.node_selector == {"pool": "gpu"}
    assert [one.key for one in pod.tolerations] == ["gpu"]
    assert [one.name for one in pod.image_pull_secrets] == ["registry"]
    assert [one.name for one in pod.volumes] == ["scratch", "keys"]
    assert [(one.name, one.restart_policy) for one in pod.init_containers] == [("fetch", None), ("proxy", "Always")]
    (main,) = pod.containers
    assert [one.mount_path for one in main.volume_mounts] == ["/scratch", "/keys"]
    assert main.args == ["echo", "$$(PASSWORD)"]
    assert [one.name for one in main.env][-1] == "PASSWORD"


def test_dry_run__shows_nothing_of_what_a_template_mounts(serve: Serve) -> None:
    response = serve(train=WHOLE).post("/job/train?dryRun=true")

    assert response.status_code == 200, response.text
    hidden = ("the-value", "the-secret", "the-keys", "registry", "/scratch", "data@example.org", "fetch", "proxy")
    assert not [word for word in hidden if word in response.text]
    pod = response.get_json()["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert [one["name"] for one in pod["containers"]] == ["main"]


def test_post__of_a_refused_template_says_so_and_nothing_of_the_template(serve: Serve) -> None:
    caller = serve(train=REFUSED, other=WHOLE)

    for path in ("/job/train", "/job/train?dryRun=true"):
        problem = check_problem(caller.post(path), 409)
        assert "does not accept the template of this definition" in problem["detail"]
        assert "Perhaps" not in json.dumps(problem)
    assert caller.post("/job/other").status_code == 202


def test_post__of_a_template_with_an_unknown_field_drops_nothing(
    serve: Serve, batch: client.BatchV1Api, namespace: str
) -> None:
    check_problem(serve(train=UNKNOWN_FIELD).post("/job/train"), 409)

    assert batch.list_namespaced_job(namespace).items == []


@pytest.mark.parametrize(
    ("job", "pointer"),
    [
        (REFUSED, "/spec/template/spec/tolerations/0/operator"),
        (UNKNOWN_FIELD, "/spec/template/spec/nodeSelectors"),
        (template(volumes=[{"name": "a"}, {"name": "a"}]), "/spec/template/spec/volumes/1/name"),
    ],
)
def test_template_checker__names_definition_and_field_of_a_refused_template(
    checker: Callable[..., TemplateChecker], caplog: pytest.LogCaptureFixture, job: Json, pointer: str
) -> None:
    found = checker(registry_of(train=job, other=WHOLE))

    with caplog.at_level(logging.ERROR):
        assert not found.check()

    assert found.refused.keys() == {"train"}
    assert f"/Configurations/train/JobTemplate{pointer}" in {fault.pointer for fault in found.refused["train"]}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the API server does not accept the template of train")
    assert pointer in line


def test_template_checker__checks_again_after_a_change(checker: Callable[..., TemplateChecker]) -> None:
    registry = registry_of(train=REFUSED)
    found = checker(registry)
    found.start()
    until(lambda: found.refused.keys() == {"train"})

    registry.replace({one.name: one for one in registry_of(train=WHOLE).all()})
    found.start()

    until(lambda: found.refused == {})


def test_template_checker__asks_once_for_each_accepted_template(
    checker: Callable[..., TemplateChecker], proxy: FaultProxy
) -> None:
    found = checker(registry_of(train=WHOLE, other=template()), proxy.url)

    assert found.check()
    assert found.check()

    assert len([one for one in proxy.requests if one.method == "POST"]) == 2


def test_template_checker__holds_no_template_refused_because_of_an_outage(
    checker: Callable[..., TemplateChecker], proxy: FaultProxy
) -> None:
    found = checker(registry_of(train=WHOLE), proxy.url)
    proxy.add(Fault(Refuse(503, "ServiceUnavailable"), method="POST"))

    assert not found.check()
    assert found.refused == {}
    assert found.check()


def test_ready__counts_refused_templates_and_stays_ready(serve: Serve) -> None:
    caller = serve(train=REFUSED, other=WHOLE)
    caller.client.application.extensions["slimfaas-jobs"].templates.check()

    response = caller.get("/ready")

    assert (response.status_code, response.get_json()["RefusedTemplates"]) == (200, 1)
    assert "train" not in response.text
