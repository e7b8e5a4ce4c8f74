"""The rights of the service: what it asks of the API server is what its Roles allow, all of it and nothing else."""

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from app.cluster import keys
from tests.cluster.dispatching import Stage, until
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.e2e.callers import Replica
from tests.faults import Fault, FaultProxy, Hold, LoseAnswer, Refuse, Request
from tests.servers import RBAC, SERVICE_ACCOUNT, Server, write_kubeconfig
from tests.service import ServiceProcess, dispatching_alone, replicas

pytestmark = pytest.mark.real_only("it knows neither accounts nor rights")

PUBLIC = {"Image": "busybox:1", "Visibility": "Public"}
DEFINITIONS: dict[str, Any] = {
    "slow": {**PUBLIC, "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "4s"}]},
    "after-deployment": {**PUBLIC, "DependsOn": ["database"]},
    "after-stateful-set": {**PUBLIC, "DependsOn": ["store"]},
    "broken": {**PUBLIC, "Image": "missing.invalid/nothing:1"},
}
JOBS = r"/jobs$"
PRODUCTION_RBAC = RBAC.parents[1] / "overlays" / "production" / "rbac.yaml"
"""The accounts and Roles of those who serve, and of the dispatchers."""

Right = tuple[str, str, str, str]
"""API group, resource (with its subresource), verb, and the one object's name; `*`: any."""


@pytest.fixture
def audit_log() -> Path:
    """What the API server has written about every call."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("the API server's audit log is at hand only where `make e2e` starts the control plane itself")
    return Path(os.environ[AUDIT_LOG_VARIABLE])


@pytest.fixture
def stage(server: Server, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """A namespace, and a proxy in front of its API server."""
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        yield Stage(server, namespace, tmp_path, proxy)


def allowed(stage: Stage, account: str) -> set[Right]:
    """What an account may do in the namespace, as the API server sees it and `kubectl auth can-i --list` shows it."""
    kubeconfig = write_kubeconfig(stage.folder, stage.server, stage.name, account=account)
    api = client.AuthorizationV1Api(config.new_client_from_config(str(kubeconfig)))
    review = api.create_self_subject_rules_review({"spec": {"namespace": stage.name}})
    assert not review.status.incomplete
    return {
        right
        for rule in review.status.resource_rules
        for right in itertools.product(rule.api_groups, rule.resources, rule.verbs, rule.resource_names or ["*"])
    }


def granted(stage: Stage, account: str) -> set[Right]:
    """What an account was given beyond what each account may do.

    The right to review tokens, which tests of private definitions need, is left out: it is a component's of its own.
    """
    beyond = allowed(stage, account) - allowed(stage, "default")
    return {right for right in beyond if right[1] != "tokenreviews"}


def calls_of(account: str, audit_log: Path) -> list[dict[str, Any]]:
    """The audit log's events of a ServiceAccount's calls.

    https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
    """
    with audit_log.open(encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines if account in line]
    return [event for event in events if event["user"]["username"] == account]


def right_for(call: dict[str, Any], rights: set[Right]) -> Right:
    """The narrowest right that allows a call; one that isn't among `rights` where none does."""
    about = call.get("objectRef", {})
    resource = "/".join(filter(None, [about.get("resource", call["requestURI"]), about.get("subresource")]))
    named = about.get("apiGroup", ""), resource, call["verb"], about.get("name", "")
    return named if named in rights else (*named[:3], "*")


def await_status(service: ServiceProcess, location: str, *wanted: str) -> dict[str, Any]:
    """Read a run until its status has been all of these, in this order; the last answer."""
    for status in wanted:
        run = until(lambda status=status: (run := service.get(location).json())["Status"] == status and run)
    return dict(run)


def start(service: ServiceProcess, definition: str) -> str:
    """Start a run; its location."""
    answer = service.post(f"/job/{definition}")
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def name_of(location: str) -> str:
    _, _, definition, run_id = location.split("/")
    return f"{definition}-slimfaas-job-{run_id}"


def use_the_queue(stage: Stage, service: ServiceProcess) -> None:
    """A lost answer and the duplicate that follows, a run that waits and says so, what becomes of both, a removal."""
    lost = stage.proxy.add(Fault(LoseAnswer(), method="POST", path=JOBS))
    first, second = start(service, "slow"), start(service, "slow")
    assert stage.proxy.strikes(lost) == 1
    assert "waits for a slot" in await_status(service, second, "Queued")["Message"]
    until(lambda: stage.reasons(name_of(second)) == ["WaitingForSlot"])
    await_status(service, first, "Running", "Succeeded")
    assert service.get(f"{first}/logs").status_code == 200
    await_status(service, start(service, "broken"), "ImagePullBackOff")
    assert service.get("/job/slow/aaaaaaaaaaaa").status_code == 404
    assert service.delete(first).status_code == 200


def use_dependencies(stage: Stage, service: ServiceProcess) -> None:
    """Runs that wait for a Deployment and a StatefulSet, which are made while they wait."""
    waiting = {"database": start(service, "after-deployment"), "store": start(service, "after-stateful-set")}
    assert len(service.get("/jobs/status").json()) == len(DEFINITIONS)
    for name, location in waiting.items():
        assert name in await_status(service, location, "Queued")["Message"]
    stage.deploy("database", replicas=1)
    labels = {"app": "store"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"serviceName": "store", "selector": {"matchLabels": labels}, "template": template}
    stage.apps.create_namespaced_stateful_set(stage.name, {"metadata": {"name": "store"}, "spec": spec})
    for location in waiting.values():
        await_status(service, location, "Succeeded")


def lose_the_thread(stage: Stage, service: ServiceProcess) -> None:
    """A history that is gone, a conflict, and an admission that is late and must not arrive any more."""
    lists = len([request for request in stage.proxy.requests if is_list_of_runs(request)])
    stage.proxy.add(Fault(Refuse(410, "Expired"), path=JOBS, when=lambda request: request.watching))
    stage.proxy.cut_watches()
    stage.proxy.wait_for(is_list_of_runs, count=lists + 1)

    stage.proxy.add(Fault(Refuse(409, "Conflict"), method="PATCH"))
    await_status(service, start(service, "after-deployment"), "Succeeded")

    stage.scale("database", replicas=0)
    stage.await_ready("database", 0)
    location = start(service, "after-deployment")
    # From then on nobody but the dispatcher changes the run, and so rules out that the admission arrives.
    until(lambda: is_suspended(stage, name_of(location)))
    late = Hold()
    stage.proxy.add(Fault(late, method="PATCH"))
    stage.scale("database", replicas=1)
    late.wait_held()
    stage.scale("database", replicas=0)
    stage.await_ready("database", 0)
    stage.proxy.cut_all()
    stage.proxy.wait_for(lambda request: keys.FENCE_ANNOTATION.encode() in request.body and request.status == 200)
    late.release()
    stage.scale("database", replicas=1)
    await_status(service, location, "Succeeded")


def is_suspended(stage: Stage, job: str) -> bool:
    """Whether the Job controller has said so."""
    conditions = stage.job(job).status.conditions or ()
    return any((condition.type, condition.status) == ("Suspended", "True") for condition in conditions)


def is_list_of_runs(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/jobs") and "limit=" in request.query


def hand_over(leader: ServiceProcess, follower: ServiceProcess) -> None:
    """The lease is given back and taken, and whoever took it admits."""
    assert follower.get("/ready").json()["Dispatcher"] == "following"
    assert leader.stop() == 0
    await_status(follower, start(follower, "after-deployment"), "Succeeded")


def check_rights(stage: Stage, account: str, audit_log: Path) -> None:
    """An account was never refused, and has used each of its rights."""
    calls = calls_of(f"system:serviceaccount:{stage.name}:{account}", audit_log)
    refused = [call for call in calls if call.get("responseStatus", {}).get("code") in (401, 403)]
    assert refused == []
    rights = granted(stage, account)
    assert {right_for(call, rights) for call in calls} == rights


def test_the_role_allows_what_the_service_asks_for_and_nothing_else(
    stage: Stage, replica: Replica, audit_log: Path
) -> None:
    """Taken through everything it can do, the service is never refused, and leaves no right of its Role unused."""
    leader, follower = (replica(DEFINITIONS, url=stage.proxy.url) for _ in range(2))
    with replicas(leader, follower):
        until(lambda: leader.get("/ready").json()["Dispatcher"] == "leading")
        use_the_queue(stage, leader)
        use_dependencies(stage, leader)
        lose_the_thread(stage, leader)
        hand_over(leader, follower)
        assert follower.stop() == 0
    check_rights(stage, SERVICE_ACCOUNT, audit_log)


def test_each_task_has_the_rights_that_it_uses_and_nothing_else(stage: Stage, audit_log: Path) -> None:
    """With an account for those who serve and one for the dispatchers, neither can do what is the other's task."""
    stage.server.grant(stage.name, PRODUCTION_RBAC)
    api, dispatcher = "slimfaas-api", "slimfaas-dispatcher"
    kubeconfigs = {
        account: write_kubeconfig(stage.folder, stage.server, stage.name, url=stage.proxy.url, account=account)
        for account in (api, dispatcher)
    }
    configuration = {"Configurations": DEFINITIONS}
    service = ServiceProcess(kubeconfigs[api], configuration, stage.folder / "api.log", SLIMFAAS_DISPATCHER="off")
    with contextlib.ExitStack() as stack:
        dispatchers: dict[str, subprocess.Popen[bytes]] = {
            name: stack.enter_context(
                dispatching_alone(
                    kubeconfigs[dispatcher],
                    stage.folder / f"{name}.log",
                    HOSTNAME=name,
                    SLIMFAAS_JOBS_CONFIGURATION=json.dumps(configuration),
                )
            )
            for name in ("one", "other")
        }
        stack.enter_context(service)
        until(stage.holder)
        use_the_queue(stage, service)
        use_dependencies(stage, service)
        lose_the_thread(stage, service)
        leader = dispatchers.pop(until(stage.holder).partition("_")[0])
        leader.terminate()
        assert leader.wait(30) == 0
        await_status(service, start(service, "after-deployment"), "Succeeded")
    check_rights(stage, api, audit_log)
    check_rights(stage, dispatcher, audit_log)


def test_what_the_role_does_not_allow_is_refused(server: Server, namespace: str, tmp_path: Path) -> None:
    """Rights are enforced here: the account may read no Secret, and nothing of another namespace."""
    account = config.new_client_from_config(str(write_kubeconfig(tmp_path, server, namespace)))
    for read in (
        lambda: client.CoreV1Api(account).list_namespaced_secret(namespace),
        lambda: client.BatchV1Api(account).list_namespaced_job("default"),
    ):
        with pytest.raises(client.ApiException) as refusal:
            read()
        assert refusal.value.status == 403
