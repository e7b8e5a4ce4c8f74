"""The rights of the service: what it asks of the API server is what its Role allows, all of it and nothing else.

The same for its two parts where they have accounts of their own, and `kubectl auth can-i --list` says the same again.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client, config

from app.kube import labels
from tests.controlplane.audit import calls_of
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.e2e.callers import Replica
from tests.integration.dispatching import Stage, until
from tests.support.faults import Fault, FaultProxy, Hold, LoseResponse, Refuse, Request
from tests.support.kustomize import Right, kubectl, needs_kubectl, rights_in
from tests.support.ports import find_free_port
from tests.support.servers import (
    DISPATCHER_ACCOUNT,
    RBAC,
    SERVICE_ACCOUNT,
    SPLIT_RBAC,
    TOKEN_REVIEW,
    Server,
    grant,
    write_kubeconfig,
)
from tests.support.service import DISPATCH, Program, ServiceProcess, replicas
from tests.support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.real_only("it knows neither accounts nor rights")

PUBLIC = {"Image": "busybox:1", "Visibility": "Public"}
DEFINITIONS: dict[str, Any] = {
    "slow": {**PUBLIC, "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "4s"}]},
    "after-deployment": {**PUBLIC, "DependsOn": ["database"]},
    "after-stateful-set": {**PUBLIC, "DependsOn": ["store"]},
    "broken": {**PUBLIC, "Image": "missing.invalid/nothing:1", "PendingTimeoutSeconds": 3},
    "private": {"Image": "busybox:1"},
}
JOBS = r"/jobs$"


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


def granted(file: Path, role: str) -> set[Right]:
    """The rights in a Role or ClusterRole of a file."""
    (found,) = [
        one
        for one in yaml.safe_load_all(file.read_text("utf-8"))
        if one["kind"] in ("Role", "ClusterRole") and one["metadata"]["name"] == role
    ]
    return rights_in(found)


def listed(kubeconfig: Path, namespace: str) -> set[Right]:
    """What `kubectl auth can-i --list` shows of a kubeconfig's user; the URLs without objects left out."""
    shown = kubectl("auth", "can-i", "--list", "--namespace", namespace, kubeconfig=kubeconfig)
    assert (shown.returncode, shown.stderr) == (0, "")
    rights = set()
    for line in shown.stdout.splitlines()[1:]:
        row = re.fullmatch(r"(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]\s*", line)
        assert row, line
        if row[1]:
            resource, _, group = row[1].partition(".")
            verbs, names = row[4].split(), row[3].split() or ["*"]
            rights |= {(group, resource, verb, name) for verb in verbs for name in names}
    return rights


def own_rights(stage: Stage, folder: Path, account: str) -> set[Right]:
    """What `kubectl auth can-i --list` shows of an account, but for what it shows of every account."""
    anybody = f"anybody-{account}"
    stage.core.create_namespaced_service_account(stage.name, {"metadata": {"name": anybody}})
    own, common = (
        listed(write_kubeconfig(folder, stage.server, stage.name, account=name), stage.name)
        for name in (account, anybody)
    )
    assert common
    return own - common


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
    lost = stage.proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    first, second = start(service, "slow"), start(service, "slow")
    assert stage.proxy.hits(lost) == 1
    assert "waits for a slot" in await_status(service, second, "Queued")["Message"]
    until(lambda: stage.reasons(name_of(second)) == ["WaitingForSlot"])
    await_status(service, first, "Running", "Succeeded")
    assert service.get(f"{first}/logs").status_code == 200
    await_status(service, start(service, "broken"), "ImagePullBackOff", "Failed")
    assert service.get("/job/slow/aaaaaaaaaaaa").status_code == 404
    assert service.get("/jobs/status").status_code == 200
    assert service.delete(first).status_code == 200


def wait_for_a_run(service: ServiceProcess) -> None:
    """A caller that stays until its run has ended."""
    headers = {"Prefer": "wait=30"}
    answer = requests.post(f"{service.url}/job/slow", headers=headers, timeout=DEADLINE_SECONDS)
    assert answer.json()["Status"] == "Succeeded"


def show_a_token(stage: Stage, service: ServiceProcess) -> None:
    """A caller that is let in by whose token it shows."""
    spec = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 600}}
    token = stage.core.create_namespaced_service_account_token("default", stage.name, spec).status.token
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.post(f"{service.url}/job/private", headers=headers, timeout=DEADLINE_SECONDS).status_code == 202


def use_dependencies(stage: Stage, service: ServiceProcess) -> None:
    """Runs that wait for a Deployment and a StatefulSet, which are made while they wait."""
    waiting = {"database": start(service, "after-deployment"), "store": start(service, "after-stateful-set")}
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
    stage.proxy.wait_for(lambda request: labels.FENCE_ANNOTATION.encode() in request.body and request.status == 200)
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


@contextmanager
def dispatching(stage: Stage, folder: Path) -> Iterator[None]:
    """`slimfaas-jobs dispatcher` under its own account, stopped in good order at the end if it is still there."""
    kubeconfig = write_kubeconfig(folder, stage.server, stage.name, url=stage.proxy.url, account=DISPATCHER_ACCOUNT)
    log, port = folder / "dispatcher.log", str(find_free_port())
    with Program(DISPATCH, kubeconfig, {"Configurations": DEFINITIONS}, log, PORT=port) as process:
        yield
        assert process.stop() == 0


def check_rights(account: str, rights: set[Right], stage: Stage, folder: Path, audit_log: Path) -> None:
    """No call of an account was refused; it has made use of each of these rights, and kubectl lists no other."""
    calls = calls_of(f"system:serviceaccount:{stage.name}:{account}", audit_log)
    refused = [call for call in calls if call.get("responseStatus", {}).get("code") in (401, 403)]
    assert refused == []
    assert {right_for(call, rights) for call in calls} == rights
    assert own_rights(stage, folder, account) == rights


@needs_kubectl
def test_the_role_allows_what_the_service_asks_for_and_nothing_else(
    stage: Stage, replica: Replica, audit_log: Path, tmp_path: Path
) -> None:
    """Taken through everything it can do, the service is never refused, and leaves no right of its Role unused."""
    trusted = {"SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": f"{stage.name}:default"}
    leader, follower = (replica(DEFINITIONS, url=stage.proxy.url, **trusted) for _ in range(2))
    with replicas(leader, follower):
        until(lambda: leader.get("/ready").json()["Dispatcher"] == "leading")
        use_the_queue(stage, leader)
        use_dependencies(stage, leader)
        wait_for_a_run(leader)
        show_a_token(stage, leader)
        lose_the_thread(stage, leader)
        hand_over(leader, follower)
        assert follower.stop() == 0

    rights = granted(RBAC, "slimfaas") | granted(TOKEN_REVIEW, "slimfaas-token-review")
    check_rights(SERVICE_ACCOUNT, rights, stage, tmp_path, audit_log)


@needs_kubectl
def test_each_part_of_the_service_is_allowed_what_it_asks_for_and_nothing_else(
    stage: Stage, replica: Replica, audit_log: Path, tmp_path: Path
) -> None:
    """The same where HTTP and the dispatcher are processes apart, each with the account that production gives it."""
    grant(stage.server, stage.name, SPLIT_RBAC)
    settings = {"SLIMFAAS_DISPATCHER": "off", "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": f"{stage.name}:default"}
    api = replica(DEFINITIONS, url=stage.proxy.url, **settings)
    with replicas(api):
        early = start(api, "slow")
        assert api.get(early).json()["Reason"] == "NoDispatcher"
        with dispatching(stage, tmp_path):
            await_status(api, early, "Succeeded")
            use_the_queue(stage, api)
            use_dependencies(stage, api)
            wait_for_a_run(api)
            show_a_token(stage, api)
            lose_the_thread(stage, api)
        # The lease was given back, and there is one to take.
        assert stage.holder() == ""
        with dispatching(stage, tmp_path):
            await_status(api, start(api, "after-deployment"), "Succeeded")
        assert api.stop() == 0

    api_rights = granted(SPLIT_RBAC, SERVICE_ACCOUNT) | granted(TOKEN_REVIEW, "slimfaas-token-review")
    check_rights(SERVICE_ACCOUNT, api_rights, stage, tmp_path, audit_log)
    check_rights(DISPATCHER_ACCOUNT, granted(SPLIT_RBAC, DISPATCHER_ACCOUNT), stage, tmp_path, audit_log)


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
