"""Admitted runs whose pods can't be created: what the response says, and what it costs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.http.clients import Caller
from tests.http.dispatching import dispatching, has, make_caller, start, wait_for
from tests.support.faults import Fault, FaultProxy, Refuse
from tests.support.servers import Server, write_kubeconfig
from tests.support.stuck_pods import NO_SECRET, make_stuck_pod, write_mount_event
from tests.support.waiting import until

Json = dict[str, Any]
BUSYBOX: Json = {"Image": "busybox:1", "Visibility": "Public"}
DEFINITIONS: Json = {
    "Configurations": {
        "fib": BUSYBOX,
        "no-account": {**BUSYBOX, "ServiceAccountName": "nobody"},
    }
}
REFUSED = 'pods "fib-x" is forbidden: no'


class Runs:
    """Makes admitted runs that no controller touches, and the Events on them.

    Attributes:
        caller: sends requests to an application whose API server is behind `proxy`.
    """

    def __init__(self, server: Server, namespace: str, caller: Caller, proxy: FaultProxy) -> None:
        self._core = client.CoreV1Api(server.admin)
        self._batch = client.BatchV1Api(server.admin)
        self._namespace = namespace
        self._proxy = proxy
        self.caller = caller

    def admit(self, *, ago_seconds: int = 60) -> tuple[str, Json]:
        """Make a run that was admitted some time ago; return its location and its Job's metadata."""
        location = start(self.caller, "fib")
        name = self.caller.get(location).get_json()["Name"]
        job = self._batch.api_client.sanitize_for_serialization(self._batch.read_namespaced_job(name, self._namespace))
        self._batch.delete_namespaced_job(name, self._namespace, propagation_policy="Background")
        # Whose Jobs have another controller, none of the cluster's creates pods for.
        job["spec"] |= {"suspend": False, "managedBy": "example.com/test"}
        for key in ("selector", "status"):
            job["spec"].pop(key, None)
        metadata = {key: job["metadata"][key] for key in ("name", "labels", "annotations")}
        for labels in (metadata["labels"], job["spec"]["template"]["metadata"]["labels"]):
            for key in [key for key in labels if "controller-uid" in key or "job-name" in key]:
                del labels[key]
        made = self._batch.create_namespaced_job(self._namespace, {"metadata": metadata, "spec": job["spec"]})
        started = datetime.now(UTC) - timedelta(seconds=ago_seconds)
        status = {"status": {"startTime": write_time(started)}}
        self._batch.patch_namespaced_job_status(name, self._namespace, status)
        return location, {"name": name, "uid": made.metadata.uid}

    def refuse_pod(self, job: Json, message: str = REFUSED, *, ago_seconds: int = 0) -> None:
        """Write an Event as the Job controller does for a pod that it could not create."""
        moment = write_time(datetime.now(UTC) - timedelta(seconds=ago_seconds))
        about = {"apiVersion": "batch/v1", "kind": "Job", "namespace": self._namespace, **job}
        event = {
            "metadata": {"generateName": "test-"},
            "involvedObject": about,
            "reason": "FailedCreate",
            "type": "Warning",
            "message": f"Error creating: {message}",
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "source": {"component": "job-controller"},
        }
        self._core.create_namespaced_event(self._namespace, event)

    def create_pod(self, job: Json) -> str:
        """Create the pod of a run, which waits for its volumes; return its name."""
        return make_stuck_pod(self._core, self._namespace, job, "fib")

    def fail_mount(self, pod: str, message: str = NO_SECRET) -> None:
        """Write an Event as a kubelet does for volumes that it can't mount."""
        write_mount_event(self._core, self._namespace, pod, message)

    def count_event_reads(self) -> int:
        """Count how often the application has read Events."""
        return sum(request.method == "GET" and request.path.endswith("/events") for request in self._proxy.requests)


def write_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def runs(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Runs:
    caller = make_caller(write_kubeconfig(tmp_path, server, namespace, url=proxy.url), DEFINITIONS)
    return Runs(server, namespace, caller, proxy)


def test_run__says_why_its_pod_could_not_be_created(runs: Runs) -> None:
    location, job = runs.admit()
    runs.refuse_pod(job, "at first", ago_seconds=30)
    runs.refuse_pod(job)
    runs.refuse_pod(job, "a minute ago", ago_seconds=50)
    told = runs.caller.get(location).get_json()
    assert (told["Status"], told["Reason"]) == ("Pending", "FailedCreate")
    assert told["Message"] == f"its pod could not be created, and Kubernetes tries again: {REFUSED}"


def test_run__does_not_tell_the_refusal_of_an_earlier_job_or_start(runs: Runs) -> None:
    location, job = runs.admit()
    runs.refuse_pod({**job, "uid": "of-an-earlier-job-of-that-name"})
    runs.refuse_pod(job, ago_seconds=90)
    assert runs.caller.get(location).get_json()["Reason"] == "Starting"


def test_run__reads_its_events_once_for_many_requests(runs: Runs) -> None:
    location, job = runs.admit()
    runs.refuse_pod(job)
    told = [runs.caller.get(location).get_json()["Reason"] for _ in range(3)]
    assert told == ["FailedCreate"] * 3
    assert runs.count_event_reads() == 1


def test_run__that_was_just_admitted_reads_no_events(runs: Runs) -> None:
    location, _ = runs.admit(ago_seconds=-60)
    assert runs.caller.get(location).get_json()["Reason"] == "Starting"
    assert runs.count_event_reads() == 0


def test_list__reads_no_events(runs: Runs) -> None:
    _, job = runs.admit()
    runs.refuse_pod(job)
    assert [run["Reason"] for run in runs.caller.get("/job/fib").get_json()] == ["Starting"]
    assert runs.count_event_reads() == 0


def test_run__says_why_its_volumes_are_not_mounted(runs: Runs) -> None:
    """The kubelet's Event, not those of another pod; a list reads no Events."""
    location, job = runs.admit()
    other_location, other_job = runs.admit()
    pods = [runs.create_pod(one) for one in (job, other_job)]
    assert [run["Reason"] for run in runs.caller.get("/job/fib").get_json()] == ["ContainerCreating"] * 2
    assert runs.count_event_reads() == 0
    runs.fail_mount(pods[0], f"{NO_SECRET}\n\x1b[31m")

    told = wait_for(runs.caller, location, has(Reason="FailedMount"))
    assert told["Status"] == "Pending"
    assert told["Message"] == f"its volumes can't be mounted, and Kubernetes tries again: {NO_SECRET} ?[31m"
    assert runs.caller.get(other_location).get_json()["Reason"] == "ContainerCreating"
    assert [runs.caller.get(location).get_json()["Reason"] for _ in range(3)] == ["FailedMount"] * 3


@pytest.mark.parametrize("status", [403, 500])
def test_run__is_shown_even_if_its_events_can_not_be_read(
    runs: Runs, proxy: FaultProxy, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has not granted the right yet gets one log line, not one for each request."""
    location, job = runs.admit()
    runs.refuse_pod(job)
    refused = proxy.add(Fault(Refuse(status, "Forbidden"), method="GET", path="/events$", times=None))
    for _ in range(3):
        response = runs.caller.get(location)
        assert (response.status_code, response.get_json()["Reason"]) == (200, "Starting")
    assert proxy.hits(refused) == 1
    assert sum("the Events of runs can't be read" in record.message for record in caplog.records) == 1


@pytest.mark.slow
def test_run__with_a_missing_service_account_says_so(
    runs: Runs, server: Server, namespace: str, tmp_path: Path
) -> None:
    with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
        told = wait_for(runs.caller, start(runs.caller, "no-account"), has(Reason="FailedCreate"))
    assert told["Status"] == "Pending"
    assert f'error looking up service account {namespace}/nobody: serviceaccount "nobody" not found' in told["Message"]


@pytest.mark.real_only("the embedded cluster has no quotas")
@pytest.mark.parametrize(
    ("hard", "message"),
    [
        ({"pods": "0"}, "exceeded quota: few, requested: pods=1"),
        ({"limits.cpu": "8"}, "failed quota: few: must specify limits.cpu for: fib"),
    ],
    ids=["used up", "asks for a limit"],
)
def test_run__that_a_quota_refuses_says_so(
    runs: Runs, server: Server, namespace: str, tmp_path: Path, hard: dict[str, str], message: str
) -> None:
    core = client.CoreV1Api(server.admin)
    core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "few"}, "spec": {"hard": hard}})
    until(lambda: core.read_namespaced_resource_quota("few", namespace).status.used is not None)
    with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
        told = wait_for(runs.caller, start(runs.caller, "fib"), has(Reason="FailedCreate"))
    assert told["Message"].endswith(message)
