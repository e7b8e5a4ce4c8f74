"""Runs of several containers: those that webhooks add, and init containers.

No node runs these pods: they have a scheduling gate, and the test writes their status as a kubelet does.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.http.clients import Caller, check_problem
from tests.http.dispatching import dispatching, has, make_caller, start, wait_for
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import until

Json = dict[str, Any]
DEFINITIONS = {"Configurations": {"fib": {"Image": "busybox:1", "Visibility": "Public"}}}
PULL_MESSAGE = 'Back-off pulling image "missing.invalid/setup:1"'


class Pods:
    """Starts runs whose pods the test plays."""

    def __init__(self, server: Server, namespace: str, caller: Caller) -> None:
        self._core = client.CoreV1Api(server.admin)
        self._batch = client.BatchV1Api(server.admin)
        self._namespace = namespace
        self.caller = caller

    def start(self, **pod_spec: Any) -> tuple[str, str]:
        """Start a run with a changed pod; return the run's location and the pod's name.

        `fields` are fields of the request.
        """
        location = start(self.caller, "fib", "true", **pod_spec.pop("fields", {}))
        name = self.caller.get(location).get_json()["Name"]
        job = self._batch.api_client.sanitize_for_serialization(self._batch.read_namespaced_job(name, self._namespace))
        self._batch.delete_namespaced_job(name, self._namespace, propagation_policy="Background")
        template = job["spec"]["template"]["spec"]
        sidecars = pod_spec.pop("containers", [])
        spec = {**template, **pod_spec, "schedulingGates": [{"name": "example.com/played-by-the-test"}]}
        spec["containers"] = [*sidecars, *template["containers"]]
        metadata = {key: job["metadata"][key] for key in ("name", "labels", "annotations")}
        labels = {key: value for key, value in metadata["labels"].items() if "slimfaas" in f"{key}{value}"}
        made = {
            "metadata": {**metadata, "labels": labels},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }
        self._batch.create_namespaced_job(self._namespace, made)
        selector = f"batch.kubernetes.io/job-name={name}"
        until(lambda: self._core.list_namespaced_pod(self._namespace, label_selector=selector).items)
        [pod] = self._core.list_namespaced_pod(self._namespace, label_selector=selector).items
        return location, pod.metadata.name

    def write(self, pod: str, **status: Any) -> None:
        """Write a pod's status as its kubelet does."""
        self._core.patch_namespaced_pod_status(pod, self._namespace, {"status": status})


@pytest.fixture
def pods(server: Server, namespace: str, tmp_path: Path) -> Pods:
    return Pods(server, namespace, make_caller(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS))


def container(name: str, **state: Json) -> Json:
    return {"name": name, "image": "busybox:1", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def test_run__whose_sidecar_runs_on_is_running_with_its_exit_code(pods: Pods) -> None:
    location, pod = pods.start(containers=[{"name": "mesh-proxy", "image": "proxy:1"}])
    ended = {"exitCode": 0, "reason": "Completed", "message": "done"}
    pods.write(
        pod,
        phase="Running",
        containerStatuses=[container("mesh-proxy", running={}), container("fib", terminated=ended)],
    )
    told = pods.caller.get(location).get_json()
    assert (told["Status"], told["Reason"], told["ExitCode"]) == ("Running", "SidecarRunning", 0)
    assert told["Message"] == "its container has ended with exit code 0; the container mesh-proxy still runs"
    assert told["Result"] == "done"


def test_run__whose_init_container_has_no_image_says_so(pods: Pods) -> None:
    location, pod = pods.start(initContainers=[{"name": "setup", "image": "missing.invalid/setup:1"}])
    pods.write(
        pod,
        phase="Pending",
        initContainerStatuses=[container("setup", waiting={"reason": "ImagePullBackOff", "message": PULL_MESSAGE})],
        containerStatuses=[container("fib", waiting={"reason": "PodInitializing"})],
    )
    told = pods.caller.get(location).get_json()
    assert (told["Status"], told["Reason"]) == ("ImagePullBackOff", "ImagePullBackOff")
    assert told["Message"] == f"the init container setup: {PULL_MESSAGE}"


def test_run__whose_init_container_failed_names_it(pods: Pods) -> None:
    location, pod = pods.start(initContainers=[{"name": "setup", "image": "busybox:1"}])
    ended = {"exitCode": 2, "reason": "Error", "message": "no such bucket"}
    pods.write(
        pod,
        phase="Failed",
        initContainerStatuses=[container("setup", terminated=ended)],
        containerStatuses=[container("fib", waiting={"reason": "PodInitializing"})],
    )
    until(lambda: pods.caller.get(location).get_json()["Status"] == "Failed")
    told = pods.caller.get(location).get_json()
    assert told["Reason"] == "BackoffLimitExceeded"
    assert "InitContainerFailed; the init container setup has ended with exit code 2: no such bucket" in told["Message"]


def test_run__whose_pod_was_evicted_says_so(pods: Pods) -> None:
    """The kubelet kills the container then, so its exit code alone looks like a fault of the program."""
    location, pod = pods.start()
    ended = {"exitCode": 137, "reason": "Error"}
    why = "The node was low on resource: memory."
    pods.write(
        pod, phase="Failed", reason="Evicted", message=why, containerStatuses=[container("fib", terminated=ended)]
    )
    told = wait_for(pods.caller, location, has(Status="Failed"))
    assert told["ExitCode"] == 137
    assert f"the last pod that failed: Evicted; {why}; the container that ended last" in told["Message"]


def test_run__whose_sidecar_failed_names_it(pods: Pods) -> None:
    """Its own container has succeeded, and Kubernetes calls the pod failed."""
    location, pod = pods.start(containers=[{"name": "mesh-proxy", "image": "proxy:1"}])
    ended = {"exitCode": 1, "reason": "Error", "message": "no route"}
    pods.write(
        pod,
        phase="Failed",
        containerStatuses=[
            container("mesh-proxy", terminated=ended),
            container("fib", terminated={"exitCode": 0, "reason": "Completed"}),
        ],
    )
    told = wait_for(pods.caller, location, has(Status="Failed"))
    assert (told["Reason"], told["ExitCode"]) == ("BackoffLimitExceeded", 0)
    assert "ContainerFailed; the container mesh-proxy has ended with exit code 1: no route" in told["Message"]


def test_run__that_succeeded_without_one_of_its_processes_says_so(pods: Pods) -> None:
    """The kernel killed a child of its first process; the kubelet reports that with exit code 0."""
    location, pod = pods.start()
    ended = {"exitCode": 0, "reason": "OOMKilled"}
    pods.write(pod, phase="Succeeded", containerStatuses=[container("fib", terminated=ended)])
    told = wait_for(pods.caller, location, has(Status="Succeeded"))
    assert (told["Reason"], told["ExitCode"]) == ("OOMKilled", 0)
    assert "the result may be incomplete" in told["Message"]


def test_run__whose_other_container_failed_names_it_while_it_runs(pods: Pods) -> None:
    location, pod = pods.start(containers=[{"name": "proxy", "image": "proxy:1"}])
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    pods.write(
        pod,
        phase="Running",
        containerStatuses=[container("fib", running={}), container("proxy", terminated=killed)],
    )
    told = pods.caller.get(location).get_json()
    assert (told["Status"], told["Reason"], told["ExitCode"]) == ("Running", "ContainerFailed", -1)
    assert told["Message"] == "the container proxy has ended with exit code 137 (OOMKilled)"


def test_run__whose_sidecar_is_being_ended_is_ending(pods: Pods) -> None:
    """Kubernetes ends a sidecar that is an init container, so nobody has to be told of it."""
    location, pod = pods.start(initContainers=[{"name": "mesh", "image": "mesh:1", "restartPolicy": "Always"}])
    pods.write(
        pod,
        phase="Running",
        initContainerStatuses=[container("mesh", running={}) | {"started": True}],
        containerStatuses=[container("fib", terminated={"exitCode": 0, "reason": "Completed"})],
    )
    told = pods.caller.get(location).get_json()
    assert (told["Status"], told["Reason"], told["ExitCode"]) == ("Running", "Ending", 0)


def test_log__of_a_container_that_has_not_started_says_why(pods: Pods) -> None:
    location, pod = pods.start(
        initContainers=[{"name": name, "image": "busybox:1"} for name in ("setup", "fetch")],
    )
    pods.write(
        pod,
        phase="Pending",
        initContainerStatuses=[
            container("setup", waiting={"reason": "ImagePullBackOff", "message": PULL_MESSAGE}),
            container("fetch", waiting={"reason": "PodInitializing"}),
        ],
        containerStatuses=[container("fib", waiting={"reason": "PodInitializing"})],
    )
    why = f"has not started: ImagePullBackOff: {PULL_MESSAGE}"
    after = f"has not started: ImagePullBackOff: the init container setup: {PULL_MESSAGE}"
    for query, detail in (
        ("", f"the run's container {after}"),
        ("?container=fib", f"the container fib {after}"),
        ("?container=fetch", f"the container fetch {after}"),
        ("?container=setup", f"the container setup {why}"),
    ):
        assert check_problem(pods.caller.get(f"{location}/logs{query}"), 409)["detail"] == detail
    unknown = check_problem(pods.caller.get(f"{location}/logs?container=other"), 404)["detail"]
    assert unknown == "the run has no such container; it has: fib, setup, fetch"


@pytest.mark.slow
def test_run__is_given_up_only_after_its_init_container_has_ended(
    pods: Pods, server: Server, namespace: str, tmp_path: Path
) -> None:
    """An init container that runs has started; what comes next has the whole time."""
    initial = [{"name": "setup", "image": "busybox:1"}]
    location, pod = pods.start(initContainers=initial, fields={"PendingTimeoutSeconds": 1})
    waits = container("fib", waiting={"reason": "PodInitializing"})
    pods.write(pod, phase="Pending", initContainerStatuses=[container("setup", running={})], containerStatuses=[waits])
    stuck, stuck_pod = pods.start(initContainers=initial, fields={"PendingTimeoutSeconds": 1})
    pull = {"reason": "ImagePullBackOff", "message": PULL_MESSAGE}
    pods.write(
        stuck_pod, phase="Pending", initContainerStatuses=[container("setup", waiting=pull)], containerStatuses=[waits]
    )
    with dispatching(write_kubeconfig(tmp_path, server, namespace), DEFINITIONS):
        told = wait_for(pods.caller, stuck, has(Reason="PendingTimeout", Status="Failed"))
        assert f"within 1 s: ImagePullBackOff: the init container setup: {PULL_MESSAGE}" in told["Message"]
        assert pods.caller.get(location).get_json()["Reason"] == "PodInitializing"
        ended = {"exitCode": 0, "reason": "Completed", "finishedAt": datetime.now(UTC).isoformat(timespec="seconds")}
        pods.write(
            pod,
            phase="Pending",
            initContainerStatuses=[container("setup", terminated=ended)],
            containerStatuses=[container("fib", waiting=pull)],
        )
        told = wait_for(pods.caller, location, has(Reason="PendingTimeout", Status="Failed"))
    assert f"within 1 s after its init containers: ImagePullBackOff: {PULL_MESSAGE}" in told["Message"]
