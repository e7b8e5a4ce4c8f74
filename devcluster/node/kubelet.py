"""The kubelet, and the scheduler that assigns every pod to this node.

Containers run as local processes of this user, without isolation: they share the host's files and network. Not
supported: init containers (such a pod fails with a message), volumes, liveness and startup probes, lifecycle hooks, and
a pod's own activeDeadlineSeconds.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime

from devcluster.controllers.cache import Cache
from devcluster.controllers.pods import is_deleting, is_terminal
from devcluster.controllers.recorder import Recorder
from devcluster.errors import ApiError
from devcluster.kinds import CONFIG_MAP, NODE, POD, SECRET
from devcluster.node.addresses import Addresses
from devcluster.node.container import phase_of, pod_status
from devcluster.node.container_worker import ContainerWorker, Runtime
from devcluster.node.machine import IP, NAME, describe_node
from devcluster.objects import Object


class PodWorker:
    """Runs one pod of the node; only for the loop's thread."""

    def __init__(self, runtime: Runtime, addresses: Addresses, pod: Object) -> None:
        self.pod = pod
        self._runtime = runtime
        self._addresses = addresses
        self._address = addresses.allocate()
        self._containers: list[ContainerWorker] = []
        self._grace_seconds: int | None = None  # None until the pod is being stopped
        self._is_over = False

    def start(self) -> None:
        """Start the containers."""
        if self.pod["spec"].get("initContainers"):
            self._reject("InitContainersNotSupported", "this node doesn't run init containers")
            return
        # Programs can see the pod's address before it is written to the API server.
        pod = {**self.pod, "status": {**(self.pod.get("status") or {}), "podIP": self._address}}
        specs: list[Object] = pod["spec"]["containers"]
        self._containers = [ContainerWorker(self._runtime, pod, spec, self._on_change) for spec in specs]
        for container in self._containers:
            container.start()
        self._publish()

    def update(self, pod: Object) -> None:
        """Apply a new state of the pod."""
        self.pod = pod
        grace_seconds: int = pod["metadata"].get("deletionGracePeriodSeconds") or 0
        if not is_deleting(pod) or self._is_over or grace_seconds == self._grace_seconds:
            return
        self._grace_seconds = grace_seconds
        for container in self._containers:
            container.stop(grace_seconds)
        self._on_change()

    def retry(self) -> None:
        """Try again with Secrets and ConfigMaps that were missing."""
        for container in self._containers:
            container.retry()

    def remove(self) -> None:
        """Clean up after the pod was deleted: kill its containers and release what it used."""
        self._is_over = True
        for container in self._containers:
            container.kill()
        uid: str = self.pod["metadata"]["uid"]
        self._addresses.release(self._address)
        self._runtime.logs.remove(uid)
        shutil.rmtree(self._runtime.folder / uid, ignore_errors=True)

    def _on_change(self) -> None:
        if self._is_over:
            return
        self._publish()
        is_live = any(container.state.is_live() for container in self._containers)
        if self._grace_seconds is not None and not is_live:
            self._is_over = True
            self._runtime.cache.delete(POD, self.pod, grace_period_seconds=0)

    def _publish(self) -> None:
        if len(self._containers) < len(self.pod["spec"]["containers"]):
            return  # still starting
        states = [container.state for container in self._containers]
        is_live = any(state.is_live() for state in states)
        policy = self.pod["spec"].get("restartPolicy", "Always")
        phase = phase_of(states, policy, is_over=self._grace_seconds is not None and not is_live)

        def change(current: Object) -> Object:
            status = pod_status(
                current.get("status") or {},
                states,
                pod=current,
                phase=phase,
                ip=self._address,
                host_ip=IP,
                now=datetime.now(UTC),
            )
            return {**current, "status": status}

        self._write(change)

    def _reject(self, reason: str, message: str) -> None:
        """Refuse to run the pod, as a kubelet does when admission fails."""
        self._is_over = True
        self._runtime.recorder.warn(POD, self.pod, reason, message)
        refusal = {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {message}"}
        self._write(lambda current: {**current, "status": {**(current.get("status") or {}), **refusal}})

    def _write(self, change: Callable[[Object], Object]) -> None:
        try:
            self._runtime.cache.update(POD, self.pod, change, subresource="status")
        except ApiError as error:
            if error.status != 404:  # the pod is gone; `remove` follows
                raise


class Kubelet:
    """Binds each new pod to this node, and runs the pods bound to it."""

    def __init__(self, cache: Cache, runtime: Runtime, scheduler: Recorder) -> None:
        self._cache = cache
        self._runtime = runtime
        self._scheduler = scheduler
        self._addresses = Addresses()
        self._workers: dict[str, PodWorker] = {}  # by the pod's uid
        cache.subscribe(POD, self._on_pod)
        cache.subscribe(SECRET, self._on_source)
        cache.subscribe(CONFIG_MAP, self._on_source)

    def register(self) -> None:
        """Create the Node object."""
        node, status = describe_node()
        made = self._cache.create(NODE, node)
        self._cache.write_status(NODE, made, status)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            if worker := self._workers.pop(old["metadata"]["uid"], None):
                worker.remove()
            return
        node: str = new["spec"].get("nodeName") or ""
        worker = self._workers.get(new["metadata"]["uid"])
        if worker:
            worker.update(new)
        elif not node and not is_deleting(new) and _is_for_scheduler(new):
            self._bind(new)
        elif node == NAME:
            self._accept(new)

    def _bind(self, pod: Object) -> None:
        try:
            bound = self._cache.bind(pod, NAME)
        except ApiError:
            return  # deleted, or bound by someone else
        metadata = bound["metadata"]
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {NAME}"
        self._scheduler.normal(POD, bound, "Scheduled", message)
        self._accept(bound)  # at once, without waiting for the watch event

    def _accept(self, pod: Object) -> None:
        if is_terminal(pod) or is_deleting(pod):
            if is_deleting(pod):
                self._cache.delete(POD, pod, grace_period_seconds=0)  # it has no processes to stop
            return
        worker = self._workers[pod["metadata"]["uid"]] = PodWorker(self._runtime, self._addresses, pod)
        worker.start()

    def _on_source(self, old: Object | None, new: Object | None) -> None:
        source = new or old
        assert source is not None
        for worker in self._workers.values():
            if worker.pod["metadata"]["namespace"] == source["metadata"]["namespace"]:
                worker.retry()


def _is_for_scheduler(pod: Object) -> bool:
    """Return whether the pod waits for the default scheduler, without scheduling gates."""
    spec = pod["spec"]
    return spec.get("schedulerName") == "default-scheduler" and not spec.get("schedulingGates")
