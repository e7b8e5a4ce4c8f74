"""Outages of the API server and etcd: every accepted run is run once, and the service recovers by itself."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
import requests
from kubernetes import client

from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane
from tests.e2e.callers import Callers, Replica, check_runs
from tests.integration.dispatching import until
from tests.support.observer import Observer
from tests.support.servers import Server, connect_to
from tests.support.service import ServiceProcess, replicas

pytestmark = [
    pytest.mark.real_only("the embedded cluster keeps no state when it is stopped"),
    pytest.mark.xdist_group("outages"),  # all in one xdist worker, so that they share one control plane
]

SLOTS = {"one": 1, "four": 4, "after": 3}
CALLED_IN_TURN = [name for name, slots in SLOTS.items() for _ in range(slots)]
DEPENDENCY = "database"
DEFINITIONS = {
    name: {
        "Image": "busybox:1",
        "Visibility": "Public",
        "NumberParallelJob": slots,
        "DependsOn": [DEPENDENCY] if name == "after" else [],
        "Environments": [{"Name": "TESTNODE_RUNS_FOR", "Value": "500ms"}],
    }
    for name, slots in SLOTS.items()
}
RUNS = 40
OUTAGE_SECONDS = 5.0
LONGEST_POST_SECONDS = 12.0
LONGEST_PROBE_SECONDS = 2.0


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """Provide a control plane that no other test uses."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("stops API servers, so it runs only where `make e2e` starts them itself")
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> Server:
    """Provide that control plane's API server."""
    return connect_to(str(plane.admin_kubeconfig))


@pytest.fixture
def apps(server: Server, namespace: str) -> client.AppsV1Api:
    """Provide the apps API, with a Deployment for the dependency that has no replicas."""
    found = client.AppsV1Api(server.admin)
    labels = {"app": DEPENDENCY}
    metadata = {"labels": labels, "annotations": {"testnode/ready-after": "2s"}}
    template = {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "busybox:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    found.create_namespaced_deployment(namespace, {"metadata": {"name": DEPENDENCY}, "spec": spec})
    return found


class Prober:
    """Probes the replicas' /health while its context lasts; a failed probe fails the test at its end."""

    def __init__(self, services: list[ServiceProcess]) -> None:
        self._urls = [f"{service.url}/health" for service in services]
        self._stop = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for url in self._urls:
                try:
                    requests.get(url, timeout=LONGEST_PROBE_SECONDS).raise_for_status()
                except requests.RequestException as error:
                    self._failures.append(repr(error))

    def __enter__(self) -> "Prober":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._failures == []


def leads(service: ServiceProcess) -> bool:
    return bool(service.get("/ready").json()["Dispatcher"] == "leading")


@contextmanager
def api_server_stopped(plane: ControlPlane, services: list[ServiceProcess]) -> Iterator[None]:
    """Stop the API server, so that nothing listens."""
    plane.api_server.stop()
    yield
    plane.api_server.start()


@contextmanager
def api_server_paused_for_longer_than_the_lease(plane: ControlPlane, services: list[ServiceProcess]) -> Iterator[None]:
    """Pause the API server: it accepts connections, and handles the requests long after their clients timed out."""
    plane.api_server.pause()
    yield
    until(lambda: not any(leads(service) for service in services))
    plane.api_server.resume()


@contextmanager
def etcd_paused_and_killed(plane: ControlPlane, services: list[ServiceProcess]) -> Iterator[None]:
    """Pause etcd, then restart it: meanwhile the API server serves from its cache and can store nothing."""
    plane.etcd.pause()
    yield
    plane.etcd.kill()
    plane.etcd.start()


Outage = Callable[[ControlPlane, list[ServiceProcess]], AbstractContextManager[None]]


@pytest.mark.parametrize(
    "outage", [api_server_stopped, api_server_paused_for_longer_than_the_lease, etcd_paused_and_killed]
)
def test_outage__every_accepted_run_runs_once_and_the_service_recovers(
    plane: ControlPlane, server: Server, namespace: str, apps: client.AppsV1Api, replica: Replica, outage: Outage
) -> None:
    """Callers get a 503 in time, probes succeed, and runs wait for a dependency that is started meanwhile."""
    services = [replica(DEFINITIONS) for _ in range(2)]
    with (
        Observer(server.admin, namespace) as seen,
        ThreadPoolExecutor(8) as pool,
        replicas(*services),
        Prober(services),
    ):
        callers = Callers(services, CALLED_IN_TURN)
        calls = [pool.submit(callers.start_run, number) for number in range(RUNS // 2)]
        seen.wait(lambda: seen.has_started(4))
        assert not [name for name in seen.starts if name.startswith("after-")]
        apps.patch_namespaced_deployment(DEPENDENCY, namespace, {"spec": {"replicas": 1}})
        with outage(plane, services):
            ends = time.monotonic() + OUTAGE_SECONDS
            calls += [pool.submit(callers.start_run, number) for number in range(RUNS // 2, RUNS)]
            until(lambda: time.monotonic() > ends and all(callers.refused))
        plane.restart_controllers()
        for call in calls:
            call.result()
        check_runs(seen, set(callers.accepted), SLOTS)
        check_dependency(server, namespace)
    assert callers.longest_seconds < LONGEST_POST_SECONDS
    assert callers.unreachable == 0


def check_dependency(server: Server, namespace: str) -> None:
    """Check that no dependent run started before the dependency was ready, by the timestamps of Kubernetes."""
    pods = client.CoreV1Api(server.admin).list_namespaced_pod(namespace, label_selector=f"app={DEPENDENCY}").items
    (ready_at,) = [
        condition.last_transition_time
        for pod in pods
        for condition in pod.status.conditions
        if condition.type == "Ready" and condition.status == "True"
    ]
    jobs = client.BatchV1Api(server.admin).list_namespaced_job(namespace, label_selector="slimfaas.dev/job=after").items
    assert jobs
    assert [job.metadata.name for job in jobs if job.status.start_time < ready_at] == []


def test_api_server_killed_during_requests__every_accepted_run_is_stored(
    plane: ControlPlane, server: Server, namespace: str, apps: client.AppsV1Api, replica: Replica
) -> None:
    """After an unknown outcome the service reads the run instead of creating a second one."""
    apps.patch_namespaced_deployment(DEPENDENCY, namespace, {"spec": {"replicas": 1}})
    services = [replica(DEFINITIONS) for _ in range(2)]
    with (
        Observer(server.admin, namespace) as seen,
        ThreadPoolExecutor(8) as pool,
        replicas(*services),
        Prober(services),
    ):
        callers = Callers(services, CALLED_IN_TURN)
        calls = [pool.submit(callers.start_run, number) for number in range(RUNS)]
        callers.wait_for(RUNS // 4)
        plane.api_server.kill()
        assert len(callers.accepted) < RUNS
        plane.api_server.start()
        plane.restart_controllers()
        for call in calls:
            call.result()
        check_runs(seen, set(callers.accepted), SLOTS)
    assert callers.longest_seconds < LONGEST_POST_SECONDS


def test_expired_history__queued_runs_start_once_their_dependency_is_ready(
    plane: ControlPlane, server: Server, namespace: str, apps: client.AppsV1Api, replica: Replica
) -> None:
    """No watch can resume, so the dispatcher lists everything again."""
    services = [replica(DEFINITIONS) for _ in range(2)]
    with replicas(*services), Prober(services):
        callers = Callers(services, CALLED_IN_TURN)
        for number in range(len(CALLED_IN_TURN)):
            callers.start_run(number)
        with Observer(server.admin, namespace) as seen:
            others = {name for name in callers.accepted if not name.startswith("after-")}
            seen.wait(lambda: seen.finished >= others)
        plane.expire_history()
        plane.restart_controllers()
        # An older observer would have missed changes.
        with Observer(server.admin, namespace) as seen:
            until(
                lambda: any(
                    re.search("recovered after .*: the watch of runs", service.log_text) for service in services
                )
            )
            assert seen.starts.keys() == others
            apps.patch_namespaced_deployment(DEPENDENCY, namespace, {"spec": {"replicas": 1}})
            for number in range(len(CALLED_IN_TURN)):
                callers.start_run(number)
            check_runs(seen, set(callers.accepted), SLOTS)
        check_dependency(server, namespace)
