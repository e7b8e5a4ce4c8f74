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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from kubernetes import client

from app.definitions.registry import Registry
from app.dispatcher.lease import LeaseTiming
from app.dispatcher.loop import Dispatcher, NotificationOptions, read_clock
from app.domain.names import new_id
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.manifests import build_job
from app.runtime import build_notification_options
from app.settings import Settings
from schemas.definition import Definition
from schemas.merge import merge
from schemas.notify import Notify
from schemas.request import Request
from tests.support.faults import FaultProxy
from tests.support.faults import Request as ApiRequest
from tests.support.leases import DispatcherLease
from tests.support.servers import Server, write_kubeconfig
from tests.support.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent.parent

QUICK = LeaseTiming(lease_seconds=2, renew_seconds=0.4, retry_seconds=0.1)
"""For tests in which a lease expires: on a slow machine a leader may lose such a lease, and lead again."""

STEADY = LeaseTiming(lease_seconds=600, renew_seconds=0.4, retry_seconds=0.1)
"""For the other tests: no machine is so slow that a leader loses its lease."""

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
        timing: LeaseTiming = STEADY,
        silence_seconds: float = 60.0,
        clock: Callable[[], float] = read_clock,
        start_error_seconds: int | None = None,
        registry: Registry | None = None,
    ) -> Dispatcher:
        """Create a dispatcher without starting it; it delivers notifications for the definitions of a registry."""
        connected = self.connect(proxy)
        return Dispatcher(
            connected,
            lambda: slots,
            instance="test",
            timing=timing,
            clock=clock,
            silence_seconds=silence_seconds,
            start_error_seconds=start_error_seconds,
            notifications=None if registry is None else _notify_loopback(connected, registry, self.folder),
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
        account: str | None = None,
        initial: Sequence[dict[str, Any]] = (),
        notifies: bool = False,
        ttl_seconds: int | None = None,
        local_queue: str | None = None,
        priority: str | None = None,
    ) -> list[str]:
        """Queue runs, and return their names in order.

        Args:
            definition: the runs' definition.
            count: the number of runs.
            depends_on: their dependencies.
            args: their arguments; the definition's, because a request's are limited in size.
            annotations: override the service's annotations.
            lasts: how long their pods run where containers are not real processes.
            image: their container's image.
            managed_by: their `spec.managedBy`; `None` for Kubernetes' own Job controller.
            account: their ServiceAccount; `None` for the default one.
            initial: their init containers.
            notifies: whether somebody is told when they end.
            ttl_seconds: how long they are kept after their end.
            local_queue: Kueue's LocalQueue that they are handed to; `None`: none.
            priority: their WorkloadPriorityClass; `None`: Kueue's default.
        """
        names = []
        for _ in range(count):
            given = Definition(
                definition,
                image,
                args=args,
                backoff_limit=0,
                service_account_name=account,
                ttl_seconds_after_finished=ttl_seconds,
                queue=local_queue,
                priority=priority,
                notify=Notify("https://not.used.example/", frozenset()) if notifies else None,
            )
            spec = merge(given, Request(depends_on=depends_on))
            job = build_job(spec, new_id(), queued_at=next(self._queue_times), call="test")
            job["metadata"]["annotations"] |= annotations or {}
            if initial:
                job["spec"]["template"]["spec"]["initContainers"] = list(initial)
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

    def is_gated(self, name: str) -> bool:
        """Return whether a run has the gate that keeps Kueue from starting it."""
        return labels.GATE_ANNOTATION in (self.job(name).metadata.annotations or {})

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

    def count_stored(self, wanted: Callable[[ApiRequest], bool]) -> int:
        """Count the requests that changed something; one that conflicts with another's write stores nothing."""
        return sum(one.status == HTTPStatus.OK and wanted(one) for one in self.proxy.requests)

    def holder(self) -> str:
        """Return the holder of the dispatcher's Lease; empty for none."""
        return self.lease.holder() or ""

    def is_settled(self) -> bool:
        """Return whether the leader has listed all runs, and no earlier leader may have admissions under way."""
        return self.lease.is_settled()


_LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def make_due(cluster: ClusterFixture, name: str) -> None:
    """Have the CronJob controller make up for a time that has passed, once it has noted the one before."""
    await_noted(cluster, name)
    status = {"status": {"lastScheduleTime": _LONG_AGO.isoformat()}}
    cluster.batch.patch_namespaced_cron_job_status(name, cluster.namespace, status)


def await_noted(cluster: ClusterFixture, name: str) -> None:
    """Wait until the CronJob controller has noted in the status that it has made a Job.

    A change of the CronJob between the Job and the note makes the note conflict. A paused CronJob then never has it.
    """

    def is_noted() -> bool:
        last = cluster.batch.read_namespaced_cron_job(name, cluster.namespace).status.last_schedule_time
        return last is None or last.year > _LONG_AGO.year

    until(is_noted)


class DispatcherProcess:
    """A dispatcher in another process, which a test can kill or pause."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        slots: Mapping[str, int],
        timing: LeaseTiming = QUICK,
        *,
        receivers: Mapping[str, str] | None = None,
        instance: str = "process",
    ) -> None:
        """Start it.

        Args:
            kubeconfig: of the API server.
            namespace: of the runs.
            slots: by definition.
            timing: of the Lease.
            receivers: the URL that the ends of a definition's runs are sent to, by definition.
            instance: begins its name in the Lease.
        """
        settings = {
            "receivers": dict(receivers or {}),
            "instance": instance,
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


def registry_of(receivers: Mapping[str, str]) -> Registry:
    """Return definitions whose ends are all sent to these URLs, by name."""
    outcomes = frozenset({"succeeded", "failed"})
    return Registry(
        {name: Definition(name, "busybox:1", notify=Notify(url, outcomes)) for name, url in receivers.items()}
    )


def _notify_loopback(connected: NamespacedClient, registry: Registry, folder: Path) -> NotificationOptions:
    """Return how notifications are delivered to receivers on loopback, signed with Secrets in a folder."""
    settings = Settings(
        configuration="{}", notify_allowed_networks=(IPv4Network("127.0.0.0/8"),), notify_secrets_folder=folder
    )
    return build_notification_options(settings, connected, registry)


def _dispatch(settings: dict[str, Any]) -> None:
    stopped = [signal.SIGTERM, signal.SIGINT]
    signal.pthread_sigmask(signal.SIG_BLOCK, stopped)
    connected = NamespacedClient(connect(settings["kubeconfig"], settings["namespace"]))
    registry = registry_of(settings["receivers"])
    dispatcher = Dispatcher(
        connected,
        lambda: dict(settings["slots"]),
        instance=settings["instance"],
        timing=LeaseTiming(**settings["timing"]),
        notifications=_notify_loopback(connected, registry, Path(settings["kubeconfig"]).parent),
    )
    dispatcher.start()
    signal.sigwait(stopped)
    dispatcher.stop()


if __name__ == "__main__":
    _dispatch(json.loads(sys.argv[1]))
