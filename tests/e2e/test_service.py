"""The service as a process: it starts, runs jobs, and stops, as in a pod."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from tests.support.leases import DispatcherLease
from tests.support.servers import Server
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS, until

Replica = Callable[..., ServiceProcess]


ECHO = {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": 3}


def await_end(service: ServiceProcess, location: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (run := service.get(location).json())["Status"] not in ("Succeeded", "Failed"):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def logs_of(server: Server, namespace: str, job: str) -> str:
    core = client.CoreV1Api(server.admin)
    pods = core.list_namespaced_pod(namespace, label_selector=f"batch.kubernetes.io/job-name={job}").items
    return "".join(core.read_namespaced_pod_log(pod.metadata.name, namespace) for pod in pods)


@pytest.mark.embedded_only("reads the output of a real process")
def test_run__arguments_reach_the_program_and_its_output_can_be_read(
    server: Server, namespace: str, replica: Replica
) -> None:
    with replica({"fibonacci": {"Image": "axaguildev/fibonacci-batch:latest", "Visibility": "Public"}}) as service:
        accepted = service.post("/job/fibonacci", {"Args": ["42"]})
        assert accepted.status_code == 202
        run = await_end(service, accepted.headers["Location"])
        assert run["Status"] == "Succeeded"
        assert logs_of(server, namespace, run["Name"]) == "267914296\n"


def test_run__is_accepted_admitted_and_finished(replica: Replica) -> None:
    """Its position and timestamps are set on the way."""
    with replica({"echo": ECHO}) as service:
        accepted = service.post("/job/echo", {"Args": ["echo", "hello"]})
        run = await_end(service, accepted.headers["Location"])
    assert accepted.json() == {"Id": run["Id"], "Name": run["Name"], "Status": "Queued"}
    assert run["Status"] == "Succeeded"
    assert run["PositionInQueue"] == -1
    assert run["InQueueTimestamp"] > 0
    assert run["InQueueTimestamp"] // 1000 <= run["StartTimestamp"] // 1000 <= run["EndTimestamp"] // 1000


@pytest.mark.slow
def test_runs_accepted_without_a_dispatcher__are_admitted_once_one_runs(replica: Replica) -> None:
    with replica({"echo": ECHO}, SLIMFAAS_DISPATCHER="off") as front:
        locations = [front.post("/job/echo", {"Args": ["true"]}).headers["Location"] for _ in range(5)]
        assert {front.get(location).json()["Status"] for location in locations} == {"Queued"}
        assert [front.get(location).json()["PositionInQueue"] for location in locations] == [1, 2, 3, 4, 5]
        with replica({"echo": ECHO}):
            assert {await_end(front, location)["Status"] for location in locations} == {"Succeeded"}


@pytest.mark.slow
def test_sigterm__dispatcher_releases_the_lease(server: Server, namespace: str, replica: Replica) -> None:
    """The process exits with 0, and the next dispatcher need not wait for the Lease to expire."""
    with replica({"echo": ECHO}) as service:
        lease = DispatcherLease(server, namespace)
        until(lease.is_settled)
        assert service.stop() == 0
        assert lease.holder() == ""


def test_several_workers__runs_are_dispatched_once(replica: Replica) -> None:
    """Workers are forked from one process, but each has its own dispatcher identity."""
    with replica({"echo": ECHO}, WEB_CONCURRENCY="3") as service:
        locations = [service.post("/job/echo", {"Args": ["true"]}).headers["Location"] for _ in range(4)]
        assert {await_end(service, location)["Status"] for location in locations} == {"Succeeded"}
