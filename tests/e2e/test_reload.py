"""Reload of the configuration from a ConfigMap volume while the service runs."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client

from app.kube import labels
from tests.e2e.callers import Replica
from tests.http.clients import CONTINUE, RawClient
from tests.integration.dispatching import until
from tests.support.faults import FaultProxy
from tests.support.mounted import MountedConfigMap
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import DISPATCH, Program, ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

LONG = {"Image": "busybox:1", "Visibility": "Public", "Args": ["sleep", "60"]}
LASTS = [{"Name": "TESTNODE_RUNS_FOR", "Value": "60s"}]
"""The run time on the test node, which runs no processes."""


def configured(**definitions: dict[str, Any]) -> dict[str, Any]:
    return {"Configurations": {name: LONG | {"Environments": LASTS} | entry for name, entry in definitions.items()}}


@pytest.fixture
def volume(tmp_path: Path) -> MountedConfigMap:
    return MountedConfigMap(tmp_path / "volume", configured(first={}))


Follower = Callable[..., ServiceProcess]


@pytest.fixture
def follower(replica: Replica, volume: MountedConfigMap) -> Follower:
    """Provide a function that creates replicas that read the volume."""

    def make(**environment: str) -> ServiceProcess:
        source = {"SLIMFAAS_JOBS_CONFIGURATION": "", "SLIMFAAS_JOBS_CONFIGURATION_FILE": str(volume.file)}
        return replica({}, **source, **environment)

    return make


def state(service: ServiceProcess) -> dict[str, Any]:
    ready = service.get("/ready")
    assert ready.status_code == 200
    found: dict[str, Any] = ready.json()["Configuration"]
    return found


def is_known(service: ServiceProcess, definition: str) -> bool:
    """Return whether several calls, which go to any of the workers, all find a definition."""
    responses = [
        requests.post(f"{service.url}/job/{definition}?dryRun=true", timeout=DEADLINE_SECONDS) for _ in range(12)
    ]
    return all(response.status_code == 200 for response in responses)


def workers_of(service: ServiceProcess) -> list[int]:
    """Return the PIDs of a service's workers."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(service.pid)], capture_output=True, check=False)
    return [int(line) for line in listed.stdout.split()]


@pytest.mark.slow
def test_queue_watch__runs_only_while_a_definition_has_a_queue_limit(
    server: Server, follower: Follower, volume: MountedConfigMap
) -> None:
    """Runs that were stored without a watch count once it runs again."""
    volume.write(configured(first={"MaxQueued": 2}))
    with (
        FaultProxy(server.url, ca=server.ca_file) as proxy,
        follower(url=proxy.url, SLIMFAAS_DISPATCHER="off", SLIMFAAS_MAX_QUEUED="0") as service,
    ):

        def watches() -> int:
            return sum(
                request.watching and request.path.endswith("/jobs") and request.finished is None
                for request in proxy.requests
            )

        until(lambda: watches() == 1)
        volume.write(configured(first={}))
        until(lambda: watches() == 0)
        assert [service.post("/job/first").status_code for _ in range(3)] == [202] * 3
        assert watches() == 0
        volume.write(configured(first={"MaxQueued": 4}))
        until(lambda: watches() == 1)
        assert [service.post("/job/first").status_code for _ in range(3)] == [202, 429, 429]


@pytest.mark.slow
def test_reload__valid_change_is_used_and_invalid_one_is_rejected(follower: Follower, volume: MountedConfigMap) -> None:
    """An invalid configuration is reported, and the last valid one stays in use."""
    with follower() as service:
        assert state(service)["Status"] == "Current"
        assert service.post("/job/second").status_code == 404
        volume.write(configured(second={}))
        until(lambda: service.post("/job/second").status_code == 202)
        assert service.post("/job/first").status_code == 404

        volume.write('{"Configurations": {"second": {"Image": ""}, "third": {"Image": "busybox:1"}}}')
        until(lambda: state(service)["Status"] == "Refused")
        assert state(service)["Faults"] == 1
        assert service.post("/job/second").status_code == 202
        assert service.post("/job/third").status_code == 404
        assert "/Configurations/second/Image" in service.log_text

        volume.write(configured(third={}))
        until(lambda: service.post("/job/third").status_code == 202)
        assert state(service) | {"LoadTimestamp": 0} == {"Status": "Current", "LoadTimestamp": 0, "Faults": 0}


@pytest.mark.slow
def test_reload__applies_to_every_worker_and_to_replacements(follower: Follower, volume: MountedConfigMap) -> None:
    """A worker that starts while the file is invalid serves the same configuration as the others."""
    with follower(WEB_CONCURRENCY="3", SLIMFAAS_DISPATCHER="off") as service:
        volume.write(configured(second={}))
        until(lambda: is_known(service, "second"))
        volume.write("{")
        until(lambda: all(state(service)["Status"] == "Refused" for _ in range(12)))
        before = workers_of(service)
        assert len(before) == 3
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        until(lambda: len(after := workers_of(service)) == 3 and not set(after) & set(before))
        until(lambda: is_known(service, "second"))
        assert service.post("/job/first").status_code == 404
        assert state(service)["Status"] == "Refused"


@pytest.mark.slow
def test_request_whose_body_arrives_after_a_reload__is_authorized_by_the_new_configuration(
    follower: Follower, volume: MountedConfigMap
) -> None:
    """An anonymous client cannot start a run of a definition that became private before its body arrived."""
    with follower() as service, RawClient(service.port) as starting, RawClient(service.port) as dry_run:
        for client, target in ((starting, "/job/first"), (dry_run, "/job/first?dryRun=true")):
            client.send_request("POST", target, "Content-Length: 2", "Expect: 100-continue")
            assert client.receive(len(CONTINUE)) == CONTINUE  # the head was accepted
        volume.write(configured(first={"Visibility": "Private"}))
        until(lambda: service.post("/job/first").status_code == 403)
        assert starting.send(b"{}").answer("POST").status == 403
        assert dry_run.send(b"{}").answer("POST").status == 403


@pytest.mark.slow
def test_reload__more_slots_admit_queued_runs(follower: Follower, volume: MountedConfigMap) -> None:
    """No event in the cluster is needed: the reload itself wakes the dispatcher."""
    with follower() as service:
        first, second = (service.post("/job/first").headers["Location"] for _ in range(2))
        until(lambda: service.get(first).json()["Status"] in ("Pending", "Running"))
        until(lambda: service.get(second).json()["Reason"] == "WaitingForSlot")
        volume.write(configured(first={"NumberParallelJob": 2}))
        until(lambda: service.get(second).json()["Status"] in ("Pending", "Running"))
        for location in (first, second):
            service.delete(location)


@pytest.mark.slow
def test_reload__new_queue_limit_counts_runs_that_are_queued_already(
    follower: Follower, volume: MountedConfigMap
) -> None:
    waits = {"DependsOn": ["nobody"]}
    with follower() as service:
        volume.write(configured(long=waits))
        until(lambda: service.post("/job/long").status_code == 202)
        assert service.post("/job/long").status_code == 202
        volume.write(configured(long=waits | {"MaxQueued": 2}))
        until(lambda: service.post("/job/long?dryRun=true").status_code == 429)
        assert service.post("/job/long").status_code == 429
        volume.write(configured(long=waits | {"MaxQueued": 3}))
        until(lambda: service.post("/job/long?dryRun=true").status_code == 200)
        assert [service.post("/job/long").status_code for _ in range(2)] == [202, 429]
        volume.write(configured(long=waits))
        until(lambda: service.post("/job/long").status_code == 202)


@pytest.mark.slow
def test_removed_definition__queued_run_gets_an_event_and_waits(
    follower: Follower, volume: MountedConfigMap, server: Server, namespace: str
) -> None:
    """The run is admitted when the definition comes back."""
    core = client.CoreV1Api(server.admin)

    def reasons(job: str) -> list[str]:
        events = core.list_namespaced_event(namespace, field_selector=f"involvedObject.name={job}").items
        return [event.reason for event in events if event.source.component == labels.COMPONENT]

    with follower() as service:
        running, waiting = (service.post("/job/first") for _ in range(2))
        until(lambda: reasons(waiting.json()["Name"]) == ["WaitingForSlot"])
        volume.write(configured(second={}))
        until(lambda: "DefinitionMissing" in reasons(waiting.json()["Name"]))
        volume.write(configured(first={"NumberParallelJob": 2}))
        until(lambda: service.get(waiting.headers["Location"]).status_code == 200)
        until(lambda: service.get(waiting.headers["Location"]).json()["Status"] in ("Pending", "Running"))
        for run in (running, waiting):
            service.delete(run.headers["Location"])


@pytest.mark.slow
def test_standalone_dispatcher__reloads_the_configuration(
    follower: Follower, volume: MountedConfigMap, server: Server, namespace: str, tmp_path: Path
) -> None:
    """It admits runs of a definition that was added after its start."""
    dispatcher = Program(
        DISPATCH,
        write_kubeconfig(tmp_path, server, namespace),
        {},
        tmp_path / "dispatcher.log",
        SLIMFAAS_JOBS_CONFIGURATION="",
        SLIMFAAS_JOBS_CONFIGURATION_FILE=str(volume.file),
        PORT=str(find_free_port()),
    )
    with dispatcher, follower(SLIMFAAS_DISPATCHER="off") as service:
        volume.write(configured(first={}, second={}))
        until(lambda: service.post("/job/second").status_code == 202)
        until(lambda: service.get("/job/second").json()[0]["Status"] in ("Pending", "Running"))
        assert dispatcher.stop() == 0


@pytest.mark.slow
def test_request__sees_exactly_one_configuration(follower: Follower, volume: MountedConfigMap) -> None:
    """While the configuration keeps changing, no response mixes two versions."""
    versions = [
        configured(first={"Image": f"busybox:{number}", "Args": [str(number)], "BackoffLimit": number})
        for number in (1, 2)
    ]
    done = threading.Event()
    seen: set[tuple[str, str, int]] = set()

    def poll(service: ServiceProcess) -> None:
        while not done.is_set():
            job = requests.post(f"{service.url}/job/first?dryRun=true", timeout=DEADLINE_SECONDS).json()
            [container] = job["spec"]["template"]["spec"]["containers"]
            seen.add((container["image"], container["args"][0], job["spec"]["backoffLimit"]))

    with follower() as service:
        volume.write(versions[1])
        until(lambda: service.post("/job/first?dryRun=true").json()["spec"]["backoffLimit"] == 2)
        pollers = [threading.Thread(target=poll, args=(service,)) for _ in range(4)]
        for poller in pollers:
            poller.start()
        try:
            for number in range(4):
                loads = service.log_text.count("the job configuration has changed")
                volume.write(versions[number % 2])
                until(lambda loads=loads: service.log_text.count("the job configuration has changed") > loads)
        finally:
            done.set()
            for poller in pollers:
                poller.join()
    assert seen == {("busybox:1", "1", 1), ("busybox:2", "2", 2)}
