"""The harness of the dispatcher's tests: a namespace with runs and workloads, and dispatchers.

The runs are real Jobs on the API server under test. All calls of a dispatcher go through a `FaultProxy`; the calls of
the tests and of the observer do not.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubernetes import client

from app.dispatcher.lease import LeaseTiming
from app.dispatcher.loop import Dispatcher, read_clock
from app.domain.names import new_id
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.manifests import build_job
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import Request
from tests.support.faults import FaultProxy
from tests.support.faults import Request as ApiRequest
from tests.support.leases import DispatcherLease
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent

QUICK = LeaseTiming(lease_seconds=2, renew_seconds=0.4, retry_seconds=0.1)

MERGE_PATCH = "application/merge-patch+json"

# The arguments of a test's run where containers are real processes; elsewhere each pod runs for a second.
SHORT = ("true",)
LONG = ("sleep", "60")


def is_admission(request: ApiRequest) -> bool:
    """Return whether a request admits a run."""
    return request.method == "PATCH" and b'"suspend": false' in request.body


def is_new_event(request: ApiRequest) -> bool:
    """Return whether a request creates an Event."""
    return request.method == "POST" and request.path.endswith("/events")


class ClusterFixture:
    """A namespace, and the operations of a test in it.

    Attributes:
        namespace: the namespace's name.
        proxy: the fault proxy between the dispatchers and the API server, unless a test creates another one.
        folder: the folder for the test's files.
        lease: the dispatcher's Lease.
    """

    def __init__(self, server: Server, namespace: str, folder: Path, proxy: FaultProxy) -> None:
        self.server = server
        self.namespace = namespace
        self.proxy = proxy
        # The client's generated types make every field optional, and reject manifests that its methods accept.
        self.batch: Any = client.BatchV1Api(server.admin)
        self.core: Any = client.CoreV1Api(server.admin)
        self.apps: Any = client.AppsV1Api(server.admin)
        self.leases: Any = client.CoordinationV1Api(server.admin)
        self.lease = DispatcherLease(server, namespace)
        self.folder = folder
        self._queue_times = (datetime.now(UTC) + timedelta(milliseconds=number) for number in itertools.count())

    def kubeconfig(self, proxy: FaultProxy | None = None) -> Path:
        """Write a kubeconfig of the service's ServiceAccount, through a proxy."""
        return write_kubeconfig(self.folder, self.server, self.namespace, url=(proxy or self.proxy).url)

    def connect(self, proxy: FaultProxy | None = None) -> NamespacedClient:
        """Return the service's client for the namespace, with its own connections."""
        return NamespacedClient(connect(str(self.kubeconfig(proxy)), self.namespace))

    def dispatcher(
        self,
        slots: Mapping[str, int],
        *,
        proxy: FaultProxy | None = None,
        timing: LeaseTiming = QUICK,
        silence_seconds: float = 60.0,
        clock: Callable[[], float] = read_clock,
    ) -> Dispatcher:
        """Create a dispatcher without starting it."""
        return Dispatcher(
            self.connect(proxy),
            lambda: slots,
            instance="test",
            timing=timing,
            clock=clock,
            silence_seconds=silence_seconds,
        )

    @contextmanager
    def dispatching(self, slots: Mapping[str, int], **options: Any) -> Iterator[Dispatcher]:
        """Start a dispatcher, wait until it leads, and stop it at the end."""
        dispatcher = self.dispatcher(slots, **options)
        dispatcher.start()
        try:
            until(lambda: dispatcher.leading)
            yield dispatcher
        finally:
            dispatcher.stop()

    def queue(
        self,
        definition: str = "fib",
        *,
        count: int = 1,
        depends_on: tuple[str, ...] = (),
        args: tuple[str, ...] = SHORT,
        annotations: Mapping[str, str] | None = None,
        lasts: str | None = None,
        image: str = "busybox:1",
        managed_by: str | None = None,
    ) -> list[str]:
        """Queue runs, and return their names in order.

        Args:
            definition: the runs' definition.
            count: the number of runs.
            depends_on: their dependencies.
            args: their arguments.
            annotations: override the service's annotations.
            lasts: how long their pods run where containers are not real processes.
            image: their container's image.
            managed_by: their `spec.managedBy`; `None` for Kubernetes' own Job controller.
        """
        names = []
        for _ in range(count):
            spec = merge(Definition(definition, image, backoff_limit=0), Request(args=args, depends_on=depends_on))
            job = build_job(spec, new_id(), queued_at=next(self._queue_times), call="test")
            job["metadata"]["annotations"] |= annotations or {}
            if managed_by is not None:
                job["spec"]["managedBy"] = managed_by
            if lasts or args == LONG:
                job["spec"]["template"]["metadata"]["annotations"] = {"testnode/runs-for": lasts or "60s"}
            self.batch.create_namespaced_job(self.namespace, job)
            names.append(job["metadata"]["name"])
        return names

    def deploy(self, name: str, *, replicas: int) -> None:
        """Create a Deployment; without replicas it is not ready for the runs that depend on it."""
        labels = {"app": name}
        container = {"name": "main", "image": "busybox:1", "args": ["sleep", "600"]}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }
        self.apps.create_namespaced_deployment(self.namespace, {"metadata": {"name": name}, "spec": spec})
        if replicas:
            self.await_ready(name, replicas)

    def scale(self, name: str, *, replicas: int) -> None:
        """Set the number of a Deployment's replicas."""
        self.apps.patch_namespaced_deployment(name, self.namespace, {"spec": {"replicas": replicas}})

    def await_ready(self, name: str, replicas: int) -> None:
        """Wait until a Deployment's status has this number of ready replicas."""

        def is_ready() -> bool:
            status = self.apps.read_namespaced_deployment(name, self.namespace).status
            return (status.ready_replicas or 0) == replicas

        until(is_ready)

    def job(self, name: str) -> Any:
        """Return a run's Job."""
        return self.batch.read_namespaced_job(name, self.namespace)

    def suspend(self, name: str, suspend: bool) -> None:
        """Suspend or start a run without the dispatcher."""
        self.batch.patch_namespaced_job(name, self.namespace, {"spec": {"suspend": suspend}})

    def delete(self, name: str) -> None:
        """Delete a run without the service."""
        self.batch.delete_namespaced_job(name, self.namespace, propagation_policy="Background")

    def reasons(self, name: str) -> list[str]:
        """Return the reasons of the dispatcher's Events on a run, oldest first."""
        selector = f"involvedObject.kind=Job,involvedObject.name={name}"
        events = self.core.list_namespaced_event(self.namespace, field_selector=selector).items
        ours = [event for event in events if event.source.component == labels.COMPONENT]
        return [str(event.reason) for event in sorted(ours, key=lambda event: event.metadata.creation_timestamp)]

    def holder(self) -> str:
        """Return the holder of the dispatcher's Lease; empty for none."""
        return self.lease.holder() or ""

    def is_settled(self) -> bool:
        """Return whether the leader has listed all runs, and no earlier leader may have admissions under way."""
        return self.lease.is_settled()


class DispatcherProcess:
    """A dispatcher in another process, which a test can kill or pause."""

    def __init__(self, kubeconfig: Path, namespace: str, slots: Mapping[str, int], timing: LeaseTiming = QUICK) -> None:
        settings = {
            "kubeconfig": str(kubeconfig),
            "namespace": namespace,
            "slots": dict(slots),
            "timing": {name: getattr(timing, name) for name in timing.__slots__},
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.dispatching", json.dumps(settings)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> "DispatcherProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Pause it with SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it with SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it with SIGTERM, as Kubernetes does."""
        self._process.terminate()
        assert self._process.wait(DEADLINE_SECONDS) == 0


def _dispatch(settings: dict[str, Any]) -> None:
    stopped = [signal.SIGTERM, signal.SIGINT]
    signal.pthread_sigmask(signal.SIG_BLOCK, stopped)
    dispatcher = Dispatcher(
        NamespacedClient(connect(settings["kubeconfig"], settings["namespace"])),
        lambda: dict(settings["slots"]),
        instance="process",
        timing=LeaseTiming(**settings["timing"]),
    )
    dispatcher.start()
    signal.sigwait(stopped)
    dispatcher.stop()


if __name__ == "__main__":
    _dispatch(json.loads(sys.argv[1]))
