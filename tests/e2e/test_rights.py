"""The service uses exactly the rights of its Role; so do web and dispatcher with separate ServiceAccounts.

The audit log shows the rights that were used, and `kubectl auth can-i --list` those that were granted.
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

from app.domain.names import schedule_ids
from app.kube import labels
from app.kube.manifests import build_cronjob
from schemas.definition import Definition
from schemas.schedules import check_schedule, load_schedule
from tests.controlplane.audit import calls_of
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.e2e.callers import Replica
from tests.integration.dispatching import ClusterFixture, until
from tests.support.faults import Fault, Hold, LoseResponse, Refuse, Request
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

pytestmark = pytest.mark.real_only("the embedded cluster has neither accounts nor rights")

PUBLIC = {"Image": "busybox:1", "Visibility": "Public"}
DEFINITIONS: dict[str, Any] = {
    "slow": {**PUBLIC, "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "4s"}]},
    "after-deployment": {**PUBLIC, "DependsOn": ["database"]},
    "after-stateful-set": {**PUBLIC, "DependsOn": ["store"]},
    "broken": {**PUBLIC, "Image": "missing.invalid/nothing:1", "PendingTimeoutSeconds": 3},
    "no-account": {**PUBLIC, "ServiceAccountName": "nobody"},
    "homeless": {**PUBLIC, "ServiceAccountName": "nobody", "PendingTimeoutSeconds": 1},
    "private": {"Image": "busybox:1"},
}
SCHEDULES = {"slow": [{"Schedule": "0 0 1 1 *"}]}
JOBS = r"/jobs$"


@pytest.fixture
def audit_log() -> Path:
    """Provide the API server's audit log."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip(
            "needs the API server's audit log, which exists only where `make e2e` starts the control plane itself"
        )
    return Path(os.environ[AUDIT_LOG_VARIABLE])


def granted(file: Path, role: str) -> set[Right]:
    """Return the rights in a Role or ClusterRole of a file."""
    (found,) = [
        one
        for one in yaml.safe_load_all(file.read_text("utf-8"))
        if one["kind"] in ("Role", "ClusterRole") and one["metadata"]["name"] == role
    ]
    return rights_in(found)


def listed(kubeconfig: Path, namespace: str) -> set[Right]:
    """Return the rights that `kubectl auth can-i --list` shows for a kubeconfig's user, without non-resource URLs."""
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


def own_rights(cluster: ClusterFixture, folder: Path, account: str) -> set[Right]:
    """Return the rights that `kubectl auth can-i --list` shows for an account, without those that every account has."""
    anybody = f"anybody-{account}"
    cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": anybody}})
    own, common = (
        listed(write_kubeconfig(folder, cluster.server, cluster.namespace, account=name), cluster.namespace)
        for name in (account, anybody)
    )
    assert common
    return own - common


def right_for(call: dict[str, Any], rights: set[Right]) -> Right:
    """Return the narrowest right that allows a call; if there is none, a right that is not in `rights`."""
    about = call.get("objectRef", {})
    resource = "/".join(filter(None, [about.get("resource", call["requestURI"]), about.get("subresource")]))
    named = about.get("apiGroup", ""), resource, call["verb"], about.get("name", "")
    return named if named in rights else (*named[:3], "*")


def await_status(service: ServiceProcess, location: str, *wanted: str) -> dict[str, Any]:
    """Read a run until its status has been each of `wanted`, in this order; return the last response."""
    for status in wanted:
        run = until(lambda status=status: (run := service.get(location).json())["Status"] == status and run)
    return dict(run)


def start(service: ServiceProcess, definition: str) -> str:
    """Start a run, and return its location."""
    response = service.post(f"/job/{definition}")
    assert response.status_code == 202, response.text
    return response.headers["Location"]


def name_of(location: str) -> str:
    _, _, definition, run_id = location.split("/")
    return f"{definition}-slimfaas-job-{run_id}"


def use_the_queue(cluster: ClusterFixture, service: ServiceProcess) -> None:
    """Use a lost response with a repeated create, a queued run with its Event, a failed run, and a deletion."""
    lost = cluster.proxy.add(Fault(LoseResponse(), method="POST", path=JOBS))
    first, second = start(service, "slow"), start(service, "slow")
    assert cluster.proxy.hits(lost) == 1
    assert "waits for a slot" in await_status(service, second, "Queued")["Message"]
    until(lambda: cluster.reasons(name_of(second)) == ["WaitingForSlot"])
    await_status(service, first, "Running", "Succeeded")
    assert service.get(f"{first}/logs").status_code == 200
    await_status(service, start(service, "broken"), "ImagePullBackOff", "Failed")
    assert service.get("/job/slow/aaaaaaaaaaaa").status_code == 404
    assert service.get("/jobs/status").status_code == 200
    assert service.delete(first).status_code == 200


def use_schedules(service: ServiceProcess) -> None:
    """Make, read, list, pause and delete a schedule."""
    body = {"Schedule": "0 0 1 1 *"}
    made = requests.post(f"{service.url}/job-schedules/slow", json=body, timeout=DEADLINE_SECONDS)
    assert made.status_code == 201, made.text
    location = made.headers["Location"]
    assert service.get(location).json()["Status"] == "Active"
    paused = requests.patch(f"{service.url}{location}", json={"Suspend": True}, timeout=DEADLINE_SECONDS)
    assert paused.json()["Status"] == "Suspended"
    assert service.delete(location).status_code == 204


def use_a_refused_pod(service: ServiceProcess) -> None:
    """Read a run whose pod can't be created, and have one given up because of that."""
    location = start(service, "no-account")
    until(lambda: service.get(location).json()["Reason"] == "FailedCreate")
    assert service.delete(location).status_code == 200
    given_up = await_status(service, start(service, "homeless"), "Failed")
    assert 'serviceaccount "nobody" not found' in given_up["Message"]


def wait_for_a_run(service: ServiceProcess) -> None:
    """Start a run with `Prefer: wait`."""
    headers = {"Prefer": "wait=30"}
    response = requests.post(f"{service.url}/job/slow", headers=headers, timeout=DEADLINE_SECONDS)
    assert response.json()["Status"] == "Succeeded"


def authenticate_by_token(cluster: ClusterFixture, service: ServiceProcess) -> None:
    """Start a private run with a ServiceAccount's token."""
    spec = {"spec": {"audiences": ["slimfaas-jobs"], "expirationSeconds": 600}}
    token = cluster.core.create_namespaced_service_account_token("default", cluster.namespace, spec).status.token
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.post(f"{service.url}/job/private", headers=headers, timeout=DEADLINE_SECONDS).status_code == 202


def use_dependencies(cluster: ClusterFixture, service: ServiceProcess) -> None:
    """Start runs that wait for a Deployment and a StatefulSet, then create both."""
    waiting = {"database": start(service, "after-deployment"), "store": start(service, "after-stateful-set")}
    for name, location in waiting.items():
        assert name in await_status(service, location, "Queued")["Message"]
    cluster.deploy("database", replicas=1)
    labels = {"app": "store"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"serviceName": "store", "selector": {"matchLabels": labels}, "template": template}
    cluster.apps.create_namespaced_stateful_set(cluster.namespace, {"metadata": {"name": "store"}, "spec": spec})
    for location in waiting.values():
        await_status(service, location, "Succeeded")


def use_configured_schedules(cluster: ClusterFixture) -> None:
    """Have a schedule made, edit its CronJob, and have one removed that the configuration does not ask for."""

    def edited() -> bool:
        found = cluster.batch.list_namespaced_cron_job(cluster.namespace, label_selector="slimfaas.dev/job=slow").items
        return any(labels.SCHEDULE_EDITED_ANNOTATION in one.metadata.annotations for one in found)

    schedule, _ = load_schedule({"Schedule": "@daily"})
    (old,) = schedule_ids("old", [schedule])
    left = build_cronjob(
        check_schedule(Definition("old", "busybox:1"), schedule), schedule, old, origin="configuration"
    )
    cluster.batch.create_namespaced_cron_job(cluster.namespace, left)
    (slow,) = schedule_ids("slow", [load_schedule(SCHEDULES["slow"][0])[0]])
    until(
        lambda: (
            [one.metadata.name for one in cluster.batch.list_namespaced_cron_job(cluster.namespace).items]
            == [f"slow-{slow}"]
        )
    )
    patch = {"spec": {"startingDeadlineSeconds": 77}}
    cluster.batch.patch_namespaced_cron_job(f"slow-{slow}", cluster.namespace, patch)
    until(edited)


def use_recovery(cluster: ClusterFixture, service: ServiceProcess) -> None:
    """Use an expired watch, a conflict, and a delayed admission that must be fenced off."""
    lists = len([request for request in cluster.proxy.requests if is_list_of_runs(request)])
    cluster.proxy.add(Fault(Refuse(410, "Expired"), path=JOBS, when=lambda request: request.watching))
    cluster.proxy.cut_watches()
    cluster.proxy.wait_for(is_list_of_runs, count=lists + 1)

    cluster.proxy.add(Fault(Refuse(409, "Conflict"), method="PATCH"))
    await_status(service, start(service, "after-deployment"), "Succeeded")

    cluster.scale("database", replicas=0)
    cluster.await_ready("database", 0)
    location = start(service, "after-deployment")
    # From then on only the dispatcher changes the run, and its fence makes the delayed admission fail.
    until(lambda: is_suspended(cluster, name_of(location)))
    late = Hold()
    cluster.proxy.add(Fault(late, method="PATCH"))
    cluster.scale("database", replicas=1)
    late.wait_held()
    cluster.scale("database", replicas=0)
    cluster.await_ready("database", 0)
    cluster.proxy.cut_all()
    cluster.proxy.wait_for(lambda request: labels.FENCE_ANNOTATION.encode() in request.body and request.status == 200)
    late.release()
    cluster.scale("database", replicas=1)
    await_status(service, location, "Succeeded")


def is_suspended(cluster: ClusterFixture, job: str) -> bool:
    """Return whether the Job controller has set the Suspended condition."""
    conditions = cluster.job(job).status.conditions or ()
    return any((condition.type, condition.status) == ("Suspended", "True") for condition in conditions)


def is_list_of_runs(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/jobs") and "limit=" in request.query


def hand_over(leader: ServiceProcess, follower: ServiceProcess) -> None:
    """Stop the leader; the follower takes the released Lease and admits runs."""
    assert follower.get("/ready").json()["Dispatcher"] == "following"
    assert leader.stop() == 0
    await_status(follower, start(follower, "after-deployment"), "Succeeded")


@contextmanager
def dispatching(cluster: ClusterFixture, folder: Path) -> Iterator[None]:
    """Run `slimfaas-jobs dispatcher` with its own ServiceAccount, and stop it cleanly at the end."""
    kubeconfig = write_kubeconfig(
        folder, cluster.server, cluster.namespace, url=cluster.proxy.url, account=DISPATCHER_ACCOUNT
    )
    log, port = folder / "dispatcher.log", str(find_free_port())
    configuration = {"Configurations": DEFINITIONS, "Schedules": SCHEDULES}
    with Program(DISPATCH, kubeconfig, configuration, log, PORT=port) as process:
        yield
        assert process.stop() == 0


def check_rights(account: str, rights: set[Right], cluster: ClusterFixture, folder: Path, audit_log: Path) -> None:
    """Check that no call was refused, that each right was used, and that kubectl lists no other right."""
    calls = calls_of(f"system:serviceaccount:{cluster.namespace}:{account}", audit_log)
    refused = [call for call in calls if call.get("responseStatus", {}).get("code") in (401, 403)]
    assert refused == []
    assert {right_for(call, rights) for call in calls} == rights
    assert own_rights(cluster, folder, account) == rights


@needs_kubectl
def test_role__has_exactly_the_rights_that_the_service_uses(
    cluster: ClusterFixture, replica: Replica, audit_log: Path, tmp_path: Path
) -> None:
    """The test uses every function of the service that calls the API server."""
    trusted = {"SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": f"{cluster.namespace}:default"}
    leader, follower = (replica(DEFINITIONS, schedules=SCHEDULES, url=cluster.proxy.url, **trusted) for _ in range(2))
    with replicas(leader, follower):
        until(lambda: leader.get("/ready").json()["Dispatcher"] == "leading")
        use_the_queue(cluster, leader)
        use_schedules(leader)
        use_a_refused_pod(leader)
        use_configured_schedules(cluster)
        use_dependencies(cluster, leader)
        wait_for_a_run(leader)
        authenticate_by_token(cluster, leader)
        use_recovery(cluster, leader)
        hand_over(leader, follower)
        assert follower.stop() == 0

    rights = granted(RBAC, "slimfaas") | granted(TOKEN_REVIEW, "slimfaas-token-review")
    check_rights(SERVICE_ACCOUNT, rights, cluster, tmp_path, audit_log)


@needs_kubectl
def test_split_roles__have_exactly_the_rights_that_web_and_dispatcher_use(
    cluster: ClusterFixture, replica: Replica, audit_log: Path, tmp_path: Path
) -> None:
    """Web and dispatcher are separate processes with separate ServiceAccounts, as in production."""
    grant(cluster.server, cluster.namespace, SPLIT_RBAC)
    settings = {"SLIMFAAS_DISPATCHER": "off", "SLIMFAAS_TRUSTED_SERVICE_ACCOUNTS": f"{cluster.namespace}:default"}
    api = replica(DEFINITIONS, url=cluster.proxy.url, **settings)
    with replicas(api):
        early = start(api, "slow")
        assert api.get(early).json()["Reason"] == "NoDispatcher"
        with dispatching(cluster, tmp_path):
            await_status(api, early, "Succeeded")
            use_the_queue(cluster, api)
            use_schedules(api)
            use_a_refused_pod(api)
            use_configured_schedules(cluster)
            use_dependencies(cluster, api)
            wait_for_a_run(api)
            authenticate_by_token(cluster, api)
            use_recovery(cluster, api)
        # The Lease was released, and the next dispatcher takes it.
        assert cluster.holder() == ""
        with dispatching(cluster, tmp_path):
            await_status(api, start(api, "after-deployment"), "Succeeded")
        assert api.stop() == 0

    api_rights = granted(SPLIT_RBAC, SERVICE_ACCOUNT) | granted(TOKEN_REVIEW, "slimfaas-token-review")
    check_rights(SERVICE_ACCOUNT, api_rights, cluster, tmp_path, audit_log)
    check_rights(DISPATCHER_ACCOUNT, granted(SPLIT_RBAC, DISPATCHER_ACCOUNT), cluster, tmp_path, audit_log)


def test_role__does_not_allow_secrets_and_other_namespaces(server: Server, namespace: str, tmp_path: Path) -> None:
    """The API server enforces rights, without which the other tests would prove nothing."""
    account = config.new_client_from_config(str(write_kubeconfig(tmp_path, server, namespace)))
    for read in (
        lambda: client.CoreV1Api(account).list_namespaced_secret(namespace),
        lambda: client.BatchV1Api(account).list_namespaced_job("default"),
    ):
        with pytest.raises(client.ApiException) as refusal:
            read()
        assert refusal.value.status == 403
