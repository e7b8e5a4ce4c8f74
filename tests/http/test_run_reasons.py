"""Status, reason and message of a run at each stage of its life, with real controllers and nodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.http.clients import Caller
from tests.http.dispatching import dispatching, has, make_caller, simulate_run, start, wait_for, watch
from tests.support.faults import Fault, FaultProxy, Refuse
from tests.support.servers import Server, write_kubeconfig

RUNS_PROCESSES = pytest.mark.embedded_only("the nodes of the real control plane run no processes")

BUSYBOX: dict[str, Any] = {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": 4, "BackoffLimit": 0}
DEFINITIONS: dict[str, Any] = {
    "Configurations": {
        "shell": BUSYBOX,
        "patient": {**BUSYBOX, "BackoffLimit": 6},
        "kueue": {**BUSYBOX, "Queue": "team-a"},
        "broken": {**BUSYBOX, "Image": "missing.invalid/nothing:1"},
    }
}


@pytest.fixture
def kubeconfig(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Path:
    """Return a kubeconfig that leads through the proxy."""
    return write_kubeconfig(tmp_path, server, namespace, url=proxy.url)


@pytest.fixture
def idle(kubeconfig: Path) -> Caller:
    """Send requests to an application without a dispatcher."""
    return make_caller(kubeconfig, DEFINITIONS)


@pytest.fixture
def busy(server: Server, namespace: str, tmp_path: Path, idle: Caller) -> Iterator[Caller]:
    """Send requests to an application beside which a dispatcher runs."""
    with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
        yield idle


def lease_calls(proxy: FaultProxy) -> int:
    return sum("/leases/" in request.path for request in proxy.requests)


class TestWithoutADispatcher:
    """A run that could start says that the dispatcher is missing."""

    def test_run__says_that_no_dispatcher_is_at_work(
        self, idle: Caller, proxy: FaultProxy, server: Server, namespace: str, tmp_path: Path
    ) -> None:
        """A list costs one call more, however many runs wait."""
        locations = [start(idle, "shell", "true") for _ in range(3)]
        told = idle.get(locations[0]).json
        assert (told["Status"], told["Reason"], told["PositionInQueue"]) == ("Queued", "NoDispatcher", 1)
        assert told["Message"] == "no dispatcher is at work: there is no Lease slimfaas-jobs-dispatcher"
        before = lease_calls(proxy)
        assert [run["Reason"] for run in idle.get("/job/shell").json] == ["NoDispatcher"] * 3
        assert lease_calls(proxy) == before + 1
        with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
            wait_for(idle, locations[-1], lambda run: run["Status"] not in ("Queued", "Pending"))
        told = idle.get(start(idle, "shell", "true")).json
        assert told["Message"] == "no dispatcher is at work: nobody holds the Lease slimfaas-jobs-dispatcher"

    def test_run__is_admissible_while_a_dispatcher_leads(
        self, idle: Caller, server: Server, namespace: str, tmp_path: Path
    ) -> None:
        """The dispatcher of the test does not know the definition, so the run stays queued."""
        location = start(idle, "shell", "true")
        others = {"Configurations": {"other": BUSYBOX}}
        with dispatching(write_kubeconfig(tmp_path, server, namespace), others):
            told = wait_for(idle, location, has(Reason="Admissible"))
        assert told["Message"] == "about to start: 0 of 4 slots in use"

    def test_run__is_shown_even_if_the_lease_can_not_be_read(self, idle: Caller, proxy: FaultProxy) -> None:
        """Then nothing is said about the dispatcher."""
        location = start(idle, "shell", "true")
        refused = proxy.add(Fault(Refuse(403, "Forbidden"), path="/leases/", times=None))
        assert idle.get(location).json["Reason"] == "Admissible"
        assert proxy.hits(refused) == 1

    def test_run__that_waits_for_a_dependency_costs_no_read_of_the_lease(self, idle: Caller, proxy: FaultProxy) -> None:
        """The reason does not depend on the dispatcher."""
        location = start(idle, "shell", "true", DependsOn=["nobody"])
        assert idle.get(location).json["Reason"] == "WaitingForDependencies"
        assert lease_calls(proxy) == 0


class TestRetries:
    """A run whose pod has failed has not failed while Kubernetes retries."""

    def test_run__fails_only_when_no_retry_is_left(self, busy: Caller) -> None:
        """Until then its status is Pending or Running."""
        location = start(
            busy, "patient", "sh", "-c", "exit 3", BackoffLimit=1, Environments=simulate_run(seconds=1, exit_code=3)
        )
        *before, last = watch(busy, location, has(Status="Failed"))
        assert {run["Status"] for run in before} <= {"Queued", "Pending", "Running"}
        assert {run["EndTimestamp"] for run in before} <= {-1}
        assert (last["Reason"], last["Attempts"], last["ExitCode"]) == ("BackoffLimitExceeded", 2, 3)
        assert "exit code 3" in last["Message"]
        assert last["RunDurationMilliseconds"] == last["EndTimestamp"] - last["StartTimestamp"] >= 0

    @RUNS_PROCESSES
    @pytest.mark.parametrize("policy", ["Never", "OnFailure"])
    def test_run__says_how_often_it_was_retried(self, busy: Caller, tmp_path: Path, policy: str) -> None:
        """Whether Kubernetes makes another pod or restarts the container."""
        script = (
            f"message=$PWD/dev/termination-log; cd {tmp_path}; echo >> count; test $(wc -l < count) -ge 3 || exit 7; "
            "until test -e go; do sleep 0.05; done; echo done > $message"
        )
        location = start(busy, "patient", "sh", "-c", script, RestartPolicy=policy)
        told = wait_for(busy, location, lambda run: run["Attempts"] == 3 and run["Status"] == "Running")
        assert (told["Reason"], told["ExitCode"], told["EndTimestamp"]) == ("Retrying", 7, -1)
        assert told["Message"] == "retry 2 of 6; the container that ended last had exit code 7"
        (tmp_path / "go").touch()
        told = wait_for(busy, location, has(Status="Succeeded"))
        assert (told["Reason"], told["Message"], told["Attempts"]) == ("", "", 3)
        assert (told["ExitCode"], told["Result"]) == (0, "done\n")


def test_run__whose_image_can_not_be_pulled_has_the_kubelets_message(
    busy: Caller, server: Server, namespace: str
) -> None:
    """It keeps its slot."""
    location = start(busy, "broken")
    told = wait_for(busy, location, has(Status="ImagePullBackOff", Reason="ImagePullBackOff"))
    [pod] = client.CoreV1Api(server.admin).list_namespaced_pod(namespace).items
    assert told["Message"] == pod.status.container_statuses[0].state.waiting.message
    assert "missing.invalid/nothing:1" in told["Message"]
    assert (told["Attempts"], told["ExitCode"], told["PositionInQueue"]) == (1, -1, -1)


@RUNS_PROCESSES
@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("echo why > dev/termination-log; echo log; exit 5", "why\n"),
        ("echo the last words; exit 5", "the last words\n"),
        ("printf '%5000s' end > dev/termination-log; exit 5", "end".rjust(4096)),
    ],
    ids=["its own message", "the end of its log", "too long"],
)
def test_run__that_failed_has_its_exit_code_and_result(busy: Caller, script: str, result: str) -> None:
    """The result has at most 4 KiB."""
    told = wait_for(busy, start(busy, "shell", "sh", "-c", script), has(Status="Failed"))
    assert (told["Reason"], told["ExitCode"], told["Attempts"]) == ("BackoffLimitExceeded", 5, 1)
    assert told["Result"] == result


def test_run__beyond_its_deadline_says_so(busy: Caller, batch: client.BatchV1Api, namespace: str) -> None:
    """The deadline is one that an operator has set on the Job."""
    location = start(busy, "patient", "sleep", "60", Environments=simulate_run(seconds=60))
    name = wait_for(busy, location, has(Status="Running"))["Name"]
    batch.patch_namespaced_job(name, namespace, {"spec": {"activeDeadlineSeconds": 1}})
    *before, told = watch(busy, location, has(Status="Failed"))
    assert {run["Status"] for run in before} <= {"Pending", "Running"}
    assert told["Reason"] == "DeadlineExceeded"
    assert "deadline" in told["Message"]


def asks_kueue(proxy: FaultProxy) -> int:
    return sum("kueue.x-k8s.io" in request.path and request.method == "GET" for request in proxy.requests)


def test_run__that_was_handed_to_kueue__says_so_and_asks_for_its_workload(busy: Caller, proxy: FaultProxy) -> None:
    """Neither the right to read Workloads nor Kueue itself is there, and nothing is asked for other runs."""
    plain = start(busy, "shell", "true")
    wait_for(busy, plain, lambda run: run["Status"] != "Queued")
    assert asks_kueue(proxy) == 0
    locations = [start(busy, "kueue", "true") for _ in range(2)]
    for location in locations:
        told = wait_for(busy, location, has(Reason="WaitingForKueue"))
        assert (told["Status"], told["PositionInQueue"]) == ("Pending", -1)
        assert told["Message"].startswith("was handed to Kueue's queue team-a; ")
    before = asks_kueue(proxy)
    assert [run["Reason"] for run in busy.get("/job/kueue").json] == ["WaitingForKueue"] * 2
    assert asks_kueue(proxy) == before + 1, "one call for all runs of a page"
