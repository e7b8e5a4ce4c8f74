"""The kubelet, and the scheduler that assigns every pod to this node.

Containers run as local processes of this user, without isolation: they share the host's files and network. Not
supported: volumes, liveness probes, lifecycle hooks, and a pod's own activeDeadlineSeconds.
"""

from http import HTTPStatus

from devcluster.controllers.cache import Cache
from devcluster.controllers.pods import is_deleting, is_terminal
from devcluster.controllers.recorder import Recorder
from devcluster.errors import ApiError
from devcluster.kinds import CONFIG_MAP, NODE, POD, SECRET
from devcluster.node.addresses import Addresses
from devcluster.node.container_worker import Runtime
from devcluster.node.machine import NAME, describe_node
from devcluster.node.pod_worker import PodWorker
from devcluster.objects import Object


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
        """Create the Node object, unless an earlier kubelet has created it."""
        node, status = describe_node()
        try:
            made = self._cache.create(NODE, node)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return
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
