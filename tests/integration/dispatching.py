"""What the tests of the dispatcher share: a namespace with runs and workloads, and dispatchers at work on it.

The runs are real Jobs on the API server under test. Everything a dispatcher does goes through a `FaultProxy`; what the
tests do themselves, and what the observer sees, does not.
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

from app.dispatcher.intent import parse_intent
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
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent

QUICK = LeaseTiming(lease_seconds=2, renew_seconds=0.4, retry_seconds=0.1)

MERGE_PATCH = "application/merge-patch+json"

# What a run of the tests executes where containers are processes; elsewhere each pod runs for a second.
SHORT = ("true",)
LONG = ("sleep", "60")


def is_admission(request: ApiRequest) -> bool:
    """Whether the dispatcher starts a run."""
    return request.method == "PATCH" and b'"suspend": false' in request.body


def is_new_event(request: ApiRequest) -> bool:
    """Whether the dispatcher tells somebody something."""
    return request.method == "POST" and request.path.endswith("/events")


class Stage:
    """A namespace, and what a test does in it.

    Attributes:
        proxy: between every dispatcher of the test and the API server, unless a test makes another.
        folder: for files of the test.
    """

    def __init__(self, server: Server, namespace: str, folder: Path, proxy: FaultProxy) -> None:
        self.server = server
        self.name = namespace
        self.proxy = proxy
        # The client's generated types make every field optional, and refuse manifests that its methods take.
        self.batch: Any = client.BatchV1Api(server.admin)
        self.core: Any = client.CoreV1Api(server.admin)
        self.apps: Any = client.AppsV1Api(server.admin)
        self.leases: Any = client.CoordinationV1Api(server.admin)
        self.folder = folder
        self._moments = (datetime.now(UTC) + timedelta(milliseconds=number) for number in itertools.count())

    def kubeconfig(self, proxy: FaultProxy | None = None) -> Path:
        """Write a kubeconfig of the service's own account, through a proxy."""
        return write_kubeconfig(self.folder, self.server, self.name, url=(proxy or self.proxy).url)

    def connect(self, proxy: FaultProxy | None = None) -> NamespacedClient:
        """The namespace as the service sees it, over connections of its own."""
        return NamespacedClient(connect(str(self.kubeconfig(proxy)), self.name))

    def dispatcher(
        self,
        slots: Mapping[str, int],
        *,
        proxy: FaultProxy | None = None,
        timing: LeaseTiming = QUICK,
        silence_seconds: float = 60.0,
        clock: Callable[[], float] = read_clock,
    ) -> Dispatcher:
        """A dispatcher, not started yet."""
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
        """A dispatcher that leads when the context begins; stopped at its end."""
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
        """Queue runs, in the order of the names returned.

        Args:
            definition: of the runs.
            count: how many.
            depends_on: what they wait for.
            args: what they execute.
            annotations: in the place of the service's own.
            lasts: how long their pods run where nothing is executed.
            image: of their container.
            managed_by: their `spec.managedBy`; `None`: Kubernetes' own controller.
        """
        names = []
        for _ in range(count):
            spec = merge(Definition(definition, image, backoff_limit=0), Request(args=args, depends_on=depends_on))
            job = build_job(spec, new_id(), queued_at=next(self._moments), call="test")
            job["metadata"]["annotations"] |= annotations or {}
            if managed_by is not None:
                job["spec"]["managedBy"] = managed_by
            if lasts or args == LONG:
                job["spec"]["template"]["metadata"]["annotations"] = {"testnode/runs-for": lasts or "60s"}
            self.batch.create_namespaced_job(self.name, job)
            names.append(job["metadata"]["name"])
        return names

    def deploy(self, name: str, *, replicas: int) -> None:
        """Create a Deployment; with no replicas it isn't ready for anybody who depends on it."""
        labels = {"app": name}
        container = {"name": "main", "image": "busybox:1", "args": ["sleep", "600"]}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }
        self.apps.create_namespaced_deployment(self.name, {"metadata": {"name": name}, "spec": spec})
        if replicas:
            self.await_ready(name, replicas)

    def scale(self, name: str, *, replicas: int) -> None:
        """Change how many replicas a Deployment has."""
        self.apps.patch_namespaced_deployment(name, self.name, {"spec": {"replicas": replicas}})

    def await_ready(self, name: str, replicas: int) -> None:
        """Return once a Deployment says that it has so many ready replicas."""

        def is_ready() -> bool:
            status = self.apps.read_namespaced_deployment(name, self.name).status
            return (status.ready_replicas or 0) == replicas

        until(is_ready)

    def job(self, name: str) -> Any:
        """A run's Job."""
        return self.batch.read_namespaced_job(name, self.name)

    def suspend(self, name: str, suspend: bool) -> None:
        """Suspend or start a run by hand."""
        self.batch.patch_namespaced_job(name, self.name, {"spec": {"suspend": suspend}})

    def delete(self, name: str) -> None:
        """Delete a run by hand."""
        self.batch.delete_namespaced_job(name, self.name, propagation_policy="Background")

    def reasons(self, name: str) -> list[str]:
        """The reasons of the dispatcher's own Events on a run, oldest first."""
        selector = f"involvedObject.kind=Job,involvedObject.name={name}"
        events = self.core.list_namespaced_event(self.name, field_selector=selector).items
        ours = [event for event in events if event.source.component == labels.COMPONENT]
        return [str(event.reason) for event in sorted(ours, key=lambda event: event.metadata.creation_timestamp)]

    def holder(self) -> str:
        """Who holds the dispatcher's lease; empty: nobody."""
        leases = self.leases.list_namespaced_lease(self.name).items
        holders = [lease.spec.holder_identity for lease in leases if lease.metadata.name == labels.LEASE_NAME]
        return str(holders[0] or "") if holders else ""

    def is_settled(self) -> bool:
        """Whether the leader has listed everything and knows of nothing that an earlier one may have under way."""
        leases = self.leases.list_namespaced_lease(self.name).items
        annotations = [lease.metadata.annotations or {} for lease in leases if lease.metadata.name == labels.LEASE_NAME]
        intent = parse_intent(annotations[0].get(labels.INTENT_ANNOTATION)) if annotations else None
        return intent is not None and intent.complete and not intent.pins


class DispatcherProcess:
    """A dispatcher in a process of its own, to be killed or paused; it leads or follows once it is entered."""

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
        """End it at once, without a chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop its threads wherever they are."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it as Kubernetes does."""
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
