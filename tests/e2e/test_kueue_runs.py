"""Runs beside a real Kueue: slots and dependencies hold, no run is lost or doubled, and each says for whom it waits."""

import time
from typing import Any

import pytest
import requests
import yaml
from kubernetes import client

from tests.controlplane.kueue.process import Kueue
from tests.e2e.callers import Replica, restart_leader
from tests.e2e.kueue import WITH_KUEUE, Queues
from tests.integration.dispatching import ClusterFixture
from tests.support.observer import Observer
from tests.support.servers import KUEUE, Server
from tests.support.service import ServiceProcess
from tests.support.waiting import until

pytestmark = WITH_KUEUE

Json = dict[str, Any]

LONG = "600s"
SHORT = "1s"


def define(lasts: str, **fields: Any) -> Json:
    """Return a public definition whose runs last so long."""
    pod = {
        "metadata": {"annotations": {"testnode/runs-for": lasts}},
        "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
    }
    return {"JobTemplate": {"spec": {"template": pod}}, "Visibility": "Public", **fields}


def start(service: ServiceProcess, definition: str, body: Json | None = None) -> str:
    """Start a run, and return its path."""
    response = service.post(f"/job/{definition}", body)
    assert response.status_code == 202, response.text
    return f"/job/{definition}/{response.json()['Id']}"


def told(service: ServiceProcess, path: str) -> Json:
    """Return what the service tells of a run."""
    response = service.get(path)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def until_told(service: ServiceProcess, path: str, status: str, reason: str | None = None) -> Json:
    """Wait until a run has a status, and a reason if one is given; return what is told of it."""

    def found() -> Json | None:
        run = told(service, path)
        return run if run["Status"] == status and reason in (None, run["Reason"]) else None

    run: Json = until(found)
    return run


def statuses(service: ServiceProcess, *paths: str) -> list[tuple[str, str]]:
    """Return status and reason of some runs, sorted."""
    return sorted((run["Status"], run["Reason"]) for run in (told(service, path) for path in paths))


@pytest.fixture
def may_read(server: Server, namespace: str) -> None:
    """Give the service the right of k8s/components/kueue."""
    rights: Any = client.RbacAuthorizationV1Api(server.admin)
    role, binding = yaml.safe_load_all(KUEUE.read_text("utf-8"))
    rights.create_namespaced_role(namespace, role)
    rights.create_namespaced_role_binding(namespace, binding)


@pytest.mark.usefixtures("may_read")
def test_quota_below_the_slots__runs_wait_for_it_and_say_so(queues: Queues, replica: Replica, seen: Observer) -> None:
    queues.add_queue("team-a", {"pods": 1})
    with replica({"a": define(LONG, NumberParallelJob=2, Queue="team-a")}) as service:
        handed, third = [start(service, "a") for _ in range(2)], start(service, "a")
        one_of_two = [("Pending", "WaitingForQuota"), ("Running", "")]  # Kueue knows their ages in whole seconds
        until(lambda: statuses(service, *handed) == one_of_two)
        waiting, running = sorted(handed, key=lambda path: told(service, path)["Status"])
        assert "queue team-a" in told(service, waiting)["Message"]
        assert until_told(service, third, "Queued", "WaitingForSlot")["PositionInQueue"] == 1
        listed = sorted(run["Reason"] for run in service.get("/job/a").json())
        assert listed == ["", "WaitingForQuota", "WaitingForSlot"]
        seen.wait(lambda: len(seen.starts) == 1)
        assert seen.most_active["a"] == 1
        assert service.delete(running).status_code == 200
        until(lambda: statuses(service, waiting, third) == one_of_two)


@pytest.mark.usefixtures("may_read")
def test_two_definitions_in_a_cohort__borrow_quota_within_their_slots(
    queues: Queues, replica: Replica, seen: Observer
) -> None:
    for team in ("a", "b"):
        queues.add_queue(f"team-{team}", queues.add_quota(f"team-{team}", {"pods": 1}, cohort="all"))
    definitions = {team: define(LONG, NumberParallelJob=3, Queue=f"team-{team}") for team in ("a", "b")}
    with replica(definitions) as service:
        borrowed = [start(service, "a") for _ in range(2)]
        for path in borrowed:
            until_told(service, path, "Running")
        owed = start(service, "b")
        until_told(service, owed, "Pending", "WaitingForQuota")
        assert service.delete(borrowed[0]).status_code == 200
        until_told(service, owed, "Running")
        seen.wait(lambda: len(seen.starts) == 3)
    assert (seen.most_active["a"], seen.most_active["b"]) == (2, 1)


@pytest.mark.usefixtures("may_read")
def test_preemption_by_priority__the_preempted_run_keeps_its_slot_and_starts_again(
    queues: Queues, replica: Replica, seen: Observer
) -> None:
    quota = queues.add_quota("team-a", {"pods": 1}, preemption={"withinClusterQueue": "LowerPriority"})
    queues.add_queue("team-a", quota)
    high, low = queues.add_priority("high", 100), queues.add_priority("low", 1)
    ranks = {"Queue": "team-a", "Priority": high, "PrioritiesWhitelist": [low]}
    definitions = {
        "batch": define(LONG, NumberParallelJob=1, **ranks),
        "urgent": define(LONG, NumberParallelJob=1, Queue="team-a", Priority=high),
    }
    with replica(definitions) as service:
        assert service.post("/job/batch", {"Priority": "none"}).status_code == 422
        preempted = start(service, "batch", {"Priority": low})
        until_told(service, preempted, "Running")
        behind = start(service, "batch", {"Priority": low})
        urgent = start(service, "urgent")
        until_told(service, urgent, "Running")
        assert "was preempted" in until_told(service, preempted, "Pending", "Preempted")["Message"]
        assert until_told(service, behind, "Queued", "WaitingForSlot")["Message"] == "waits for a slot: 1 of 1 in use"
        assert service.delete(urgent).status_code == 200
        until_told(service, preempted, "Running")
    assert seen.most_active["batch"] == 1


def test_stopped_kueue__loses_and_doubles_no_run(
    kueue: Kueue, queues: Queues, replica: Replica, seen: Observer
) -> None:
    """While it is stopped, the API server can't call its webhook, so Jobs can neither be made nor changed."""
    queues.add_queue("team-a", {"pods": 2})
    with replica({"a": define(SHORT, NumberParallelJob=3, Queue="team-a")}) as service:
        names = [told(service, start(service, "a"))["Name"] for _ in range(8)]
        kueue.stop()
        try:
            refused = requests.post(f"{service.url}/job/a", headers={"Idempotency-Key": "while-stopped"}, timeout=60)
        finally:
            kueue.start()
        assert refused.status_code == 503, refused.text
        again = until(lambda: _accepted(service, "while-stopped"))
        names.append(again["Name"])
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.starts == dict.fromkeys(names, 1)
    assert seen.most_active["a"] <= 2


def _accepted(service: ServiceProcess, key: str) -> Json | None:
    """Repeat a request, and return its run; `None`: it was not accepted."""
    response = requests.post(f"{service.url}/job/a", headers={"Idempotency-Key": key}, timeout=60)
    return response.json() if response.status_code in (200, 202) else None


def test_killed_leaders__between_the_gate_and_kueue__keep_the_promises(
    cluster: ClusterFixture, queues: Queues, replica: Replica, seen: Observer
) -> None:
    """Of two replicas, the one that leads is killed three times while 24 runs go through."""
    queues.add_queue("team-a", {"pods": 3})
    cluster.deploy("db", replicas=0)
    definitions = {
        "a": define(SHORT, NumberParallelJob=4, Queue="team-a"),
        "b": define(SHORT, NumberParallelJob=2, Queue="team-a", DependsOn=["db"]),
    }
    replicas = [replica(definitions) for _ in range(2)]
    for service in replicas:
        service.start()
    try:
        names = {team: [_name(replicas[0], team) for _ in range(12)] for team in ("a", "b")}
        for number in range(3):
            restart_leader(replicas)
            if number == 0:
                assert not any(name in seen.starts for name in names["b"]), "its dependency is not ready"
                cluster.scale("db", replicas=1)
        everything = {*names["a"], *names["b"]}
        seen.wait(lambda: seen.finished >= everything)
    finally:
        for service in replicas:
            service.kill()
    assert seen.starts == dict.fromkeys(everything, 1)
    assert seen.most_active["a"] <= 3
    assert seen.most_active["b"] <= 2


def _name(service: ServiceProcess, definition: str) -> str:
    response = service.post(f"/job/{definition}")
    assert response.status_code == 202, response.text
    return str(response.json()["Name"])


@pytest.mark.usefixtures("may_read")
@pytest.mark.parametrize("quota", [10, 0])
def test_default_queue__takes_no_run_without_a_queue_before_it_is_admitted(
    cluster: ClusterFixture, queues: Queues, replica: Replica, seen: Observer, quota: int
) -> None:
    """Five runs with two slots, and three that depend on a Deployment that is not ready."""
    queues.add_queue("default", {"pods": quota})
    cluster.deploy("db", replicas=0)
    definitions = {"a": define(LONG, NumberParallelJob=2), "b": define(LONG, NumberParallelJob=3, DependsOn=["db"])}
    with replica(definitions) as service:
        paths = [start(service, "a") for _ in range(5)]
        dependent = [start(service, "b") for _ in range(3)]
        for path in paths[:2]:
            if quota:
                until_told(service, path, "Running")
            else:
                assert "queue default" in until_told(service, path, "Pending", "WaitingForQuota")["Message"]
        for path in paths[2:]:
            until_told(service, path, "Queued", "WaitingForSlot")
        for path in dependent:
            until_told(service, path, "Queued", "WaitingForDependencies")
        assert told(service, "/ready")["IgnoredKueueGates"] == 0
        seen.wait(lambda: len(seen.starts) >= (2 if quota else 0))
    assert sorted(seen.starts.values()) == [1] * (2 if quota else 0), "no fight"


def test_kueue_that_manages_jobs_without_a_queue__is_named_and_not_fought(
    kueue: Kueue, queues: Queues, replica: Replica, seen: Observer
) -> None:
    with (
        kueue.configured(manage_jobs_without_queue_name=True),
        replica({"a": define(LONG, NumberParallelJob=1)}) as service,
    ):
        path = start(service, "a")
        waits = until_told(service, path, "Queued", "SuspendedAgain")
        assert "manageJobsWithoutQueueName" in waits["Message"]
        assert service.get("/job/a").json()[0]["Reason"] == "SuspendedAgain"
        seen.wait(lambda: waits["Name"] in seen.starts)
        time.sleep(3)  # a fight starts it several times a second; the service pauses for a minute
        assert seen.starts == {waits["Name"]: 1}


def test_older_kueue__that_ignores_the_gate__is_told_loudly(
    kueue: Kueue, queues: Queues, replica: Replica, seen: Observer
) -> None:
    with kueue.configured(feature_gates={"AdmissionGatedBy": False}):
        queues.add_queue("team-a", {"pods": 5})
        with replica({"a": define(LONG, NumberParallelJob=1, Queue="team-a")}) as service:
            for _ in range(2):
                start(service, "a")
            until(lambda: told(service, "/ready")["IgnoredKueueGates"] > 0)
            until(lambda: "Kueue has started run" in service.log_text)
            assert "\nslimfaas_jobs_ignored_kueue_gates_total 0" not in service.get("/metrics").text
