"""Runs of definitions whose template has several containers, with processes of the embedded cluster: state and logs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import Caller, check_problem
from tests.http.dispatching import Run, start, wait_for
from tests.support.servers import Server, write_kubeconfig

pytestmark = pytest.mark.embedded_only("the nodes of the real control plane run no processes")


def container(name: str, script: str, **fields: Any) -> dict[str, Any]:
    """Return a container whose script `sh` runs."""
    return {"name": name, "image": "busybox:1", "command": ["sh", "-c", script], **fields}


def definition(*regular: dict[str, Any], initial: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    """Return a definition with a template of these containers."""
    template = {"spec": {"template": {"spec": {"containers": list(regular), "initContainers": list(initial)}}}}
    return {"Visibility": "Public", "BackoffLimit": 0, "NumberParallelJob": 8, "JobTemplate": template, **fields}


def annotated(name: str, made: dict[str, Any]) -> dict[str, Any]:
    """Return a definition whose template names the run's container."""
    annotations = {"kubectl.kubernetes.io/default-container": name}
    made["JobTemplate"]["spec"]["template"]["metadata"] = {"annotations": annotations}
    return made


GATE = "until test -e go; do sleep 0.02; done"
MESH = "exec 2>/dev/null; echo up; trap 'echo down; exit 0' TERM; while true; do sleep 0.02; done"
SIDECAR = container("mesh", MESH, restartPolicy="Always")
SETUP = container("setup", "echo fetched")


@pytest.fixture
def caller(server: Server, namespace: str, tmp_path: Path) -> Iterator[Caller]:
    """Send requests to an application whose dispatcher runs; `go` in the test's folder opens the gates."""
    gate = GATE.replace("go", str(tmp_path / "go"))
    definitions = {
        "several": definition(
            container("proxy", "echo proxied"), container("several", "echo done"), initial=(SETUP, SIDECAR)
        ),
        "kept": definition(container("kept", "echo done; exit 3"), container("proxy", gate)),
        "other": definition(container("other", "echo done"), container("proxy", "echo no route >&2; exit 4")),
        "unset": definition(container("unset", "true"), initial=(container("setup", "exit 2"),)),
        "slow": definition(container("slow", "echo done"), initial=(container("setup", f"echo begun; {gate}"),)),
        "none": definition(
            container("none", "true"), initial=(container("setup", "true", image="missing.invalid/setup:1"),)
        ),
        "named": annotated(
            "worker", definition(container("proxy", "echo no"), container("worker", "echo yes; exit 3"))
        ),
        "again": definition(
            container("again", "echo done"),
            initial=(container("setup", f"echo try; test -e {tmp_path}/try || {{ touch {tmp_path}/try; exit 1; }}"),),
            RestartPolicy="OnFailure",
            BackoffLimit=3,
        ),
    }
    kubeconfig = write_kubeconfig(tmp_path, server, namespace)
    app = create_app(Settings(configuration=json.dumps({"Configurations": definitions}), kubeconfig=str(kubeconfig)))
    dispatcher = app.extensions["slimfaas-jobs"].dispatcher
    dispatcher.start()
    yield Caller(app.test_client())
    dispatcher.stop()


def ended(run: Run) -> bool:
    return run["Status"] in ("Succeeded", "Failed")


def test_run__has_the_log_of_each_container(caller: Caller) -> None:
    """Without `container`, that of the container named as the definition, although it is not the first."""
    location = start(caller, "several")
    assert wait_for(caller, location, ended)["Status"] == "Succeeded"
    assert caller.get(f"{location}/logs").text == "done\n"
    for name, text in (
        ("several", "done\n"), ("proxy", "proxied\n"), ("setup", "fetched\n"), ("mesh", "up\ndown\n"),
    ):  # fmt: skip
        assert caller.get(f"{location}/logs?container={name}").text == text
        assert caller.get(f"{location}/logs?container={name}&follow=true").text == text
        assert caller.get(f"{location}/logs?container={name}&tailLines=1").text == f"{text.split()[-1]}\n"
        assert caller.call("HEAD", f"{location}/logs?container={name}").status_code == 200


@pytest.mark.parametrize(
    "name", ["", "Several", "several ", "missing", "../several", "a" * 5000, "\0", "é", "several,proxy", "$(X)"]
)
def test_log__of_an_unknown_container_gets_404_with_those_that_there_are(caller: Caller, name: str) -> None:
    """Whether the run has a pod or not; nothing of the name is repeated."""
    location = start(caller, "slow")
    for method in ("GET", "HEAD"):
        response = caller.call(method, f"{location}/logs?container={quote(name, safe='')}")
        assert response.status_code == 404
    detail = check_problem(caller.get(f"{location}/logs?container={quote(name, safe='')}"), 404)["detail"]
    assert detail == "the run has no such container; it has: slow, setup"


def test_log__of_a_container_given_twice_gets_400(caller: Caller) -> None:
    location = start(caller, "slow")
    response = caller.get(f"{location}/logs?container=slow&container=setup")
    assert check_problem(response, 400)["detail"] == "container: given more than once"


def test_run__waits_for_its_init_container(caller: Caller, tmp_path: Path) -> None:
    """Its log can be read meanwhile. That of the run's own container says what it waits for."""
    location = start(caller, "slow")
    run = wait_for(caller, location, lambda run: run["Reason"] == "PodInitializing" and run["Message"] != run["Reason"])
    assert (run["Status"], run["Message"]) == ("Pending", "the init container setup has not ended yet")
    for query in ("", "?container=slow", "?follow=true"):
        detail = check_problem(caller.get(f"{location}/logs{query}"), 409)["detail"]
        assert detail.endswith("has not started: PodInitializing: the init container setup has not ended yet")
    assert caller.get(f"{location}/logs?container=setup").status_code == 200
    (tmp_path / "go").touch()
    assert wait_for(caller, location, ended)["Status"] == "Succeeded"
    assert caller.get(f"{location}/logs?container=setup").text == "begun\n"


def test_run__whose_sidecar_runs_on_is_running_until_it_ends(caller: Caller, tmp_path: Path) -> None:
    location = start(caller, "kept")
    run = wait_for(caller, location, lambda run: run["Reason"] == "SidecarRunning")
    assert (run["Status"], run["ExitCode"]) == ("Running", 3)
    assert run["Message"] == "its container has ended with exit code 3; the container proxy still runs"
    (tmp_path / "go").touch()
    run = wait_for(caller, location, ended)
    assert (run["Status"], run["ExitCode"]) == ("Failed", 3)


def test_run__is_about_the_container_that_its_template_names(caller: Caller) -> None:
    """Neither the first one, nor one named as the definition."""
    run = wait_for(caller, location := start(caller, "named"), ended)
    assert (run["Status"], run["ExitCode"], run["Image"]) == ("Failed", 3, "busybox:1")
    assert caller.get(f"{location}/logs").text == "yes\n"
    assert caller.get(f"{location}/logs?follow=true").text == "yes\n"
    assert caller.get(f"{location}/logs?container=proxy").text == "no\n"


def test_run__fails_with_another_container_and_names_it(caller: Caller) -> None:
    run = wait_for(caller, location := start(caller, "other"), ended)
    assert (run["Status"], run["Reason"], run["ExitCode"]) == ("Failed", "BackoffLimitExceeded", 0)
    assert "ContainerFailed; the container proxy has ended with exit code 4" in run["Message"]
    assert caller.get(f"{location}/logs?container=proxy").text == "no route\n"


def test_run__fails_with_an_init_container_and_names_it(caller: Caller) -> None:
    run = wait_for(caller, start(caller, "unset"), ended)
    assert (run["Status"], run["ExitCode"]) == ("Failed", -1)
    assert run["Message"].endswith("InitContainerFailed; the init container setup has ended with exit code 2")


def test_run__whose_init_container_has_no_image_says_so(caller: Caller) -> None:
    location = start(caller, "none")
    run = wait_for(caller, location, lambda run: run["Reason"] == "ImagePullBackOff")
    assert run["Status"] == "ImagePullBackOff"
    assert run["Message"].startswith('the init container setup: Back-off pulling image "missing.invalid/setup:1"')
    detail = check_problem(caller.get(f"{location}/logs?container=setup"), 409)["detail"]
    assert detail.startswith("the container setup has not started: ImagePullBackOff: ")


def test_log__of_a_restarted_init_container_has_attempts_of_its_own(caller: Caller) -> None:
    """The run's own container was started once."""
    location = start(caller, "again")
    run = wait_for(caller, location, ended)
    assert (run["Status"], run["Attempts"]) == ("Succeeded", 1)
    for query in ("", "&previous=true", "&attempt=1", "&attempt=2", "&attempt=1&follow=true"):
        assert caller.get(f"{location}/logs?container=setup{query}").text == "try\n"
    detail = check_problem(caller.get(f"{location}/logs?container=setup&attempt=3"), 404)["detail"]
    assert detail == "the run has no attempt 3; attempts that still exist: 2"
    check_problem(caller.get(f"{location}/logs?attempt=2"), 404)
