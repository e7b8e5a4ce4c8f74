"""One pod on the node: starting its containers in their order, and ending them."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime

from devcluster.controllers.loop import Timer
from devcluster.controllers.pods import is_deleting
from devcluster.errors import ApiError
from devcluster.kinds import POD
from devcluster.node.addresses import Addresses
from devcluster.node.container_worker import ContainerWorker, Runtime
from devcluster.node.machine import IP
from devcluster.node.pod_lifecycle import count_startable, has_failed_to_initialize, is_done, phase_of, pod_status
from devcluster.objects import Object


class PodWorker:
    """Runs one pod of the node; only for the loop's thread."""

    def __init__(self, runtime: Runtime, addresses: Addresses, pod: Object) -> None:
        self.pod = pod
        self._runtime = runtime
        self._addresses = addresses
        self._address = addresses.allocate()
        self._containers: list[ContainerWorker] = []  # the init containers first, in the order of the spec
        self._grace_seconds: int | None = None  # None until the pod is deleted
        self._kill_at: float | None = None  # time.monotonic; None until the containers are being stopped
        self._timer: Timer | None = None  # kills what is left then
        self._is_over = False

    def start(self) -> None:
        """Start the containers that may start; the others follow."""
        # Programs can see the pod's address before it is written to the API server.
        pod = {**self.pod, "status": {**(self.pod.get("status") or {}), "podIP": self._address}}
        spec: Object = pod["spec"]
        self._containers = [
            ContainerWorker(self._runtime, pod, container, self._on_change, is_init=field == "initContainers")
            for field in ("initContainers", "containers")
            for container in spec.get(field) or ()
        ]
        self._advance()
        self._publish()

    def update(self, pod: Object) -> None:
        """Apply a new state of the pod."""
        self.pod = pod
        grace_seconds: int = pod["metadata"].get("deletionGracePeriodSeconds") or 0
        if not is_deleting(pod) or self._is_over or grace_seconds == self._grace_seconds:
            return
        self._grace_seconds = grace_seconds
        self._stop(grace_seconds)
        self._on_change()

    def retry(self) -> None:
        """Try again with Secrets and ConfigMaps that were missing."""
        for container in self._containers:
            container.retry()

    def remove(self) -> None:
        """Clean up after the pod was deleted: kill its containers and release what it used."""
        self._is_over = True
        if self._timer:
            self._timer.cancel()
        for container in self._containers:
            container.kill()
        uid: str = self.pod["metadata"]["uid"]
        self._addresses.release(self._address)
        self._runtime.logs.remove(uid)
        shutil.rmtree(self._runtime.folder / uid, ignore_errors=True)

    @property
    def _policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    def _is_live(self) -> bool:
        return any(container.state.is_live() for container in self._containers)

    def _on_change(self) -> None:
        if self._is_over:
            return
        self._advance()
        self._publish()
        if self._grace_seconds is not None and not self._is_live():
            self._is_over = True
            self._runtime.cache.delete(POD, self.pod, grace_period_seconds=0)

    def _advance(self) -> None:
        """Start the containers whose turn it is, or end the sidecars that have nothing left to serve."""
        states = [container.state for container in self._containers]
        if self._kill_at is None and (has_failed_to_initialize(states, self._policy) or is_done(states, self._policy)):
            self._stop(self.pod["spec"].get("terminationGracePeriodSeconds") or 0)
        if self._kill_at is not None:
            self._stop_sidecars()
            return
        # A start may fail at once, and call this again.
        for container in self._containers[: count_startable(states)]:
            if not container.was_begun and self._kill_at is None:
                container.start()

    def _stop(self, grace_seconds: float) -> None:
        """Stop the containers, and kill what is left after the grace period."""
        self._kill_at = time.monotonic() + grace_seconds
        for container in self._containers:
            container.begin_shutdown()
            if not container.state.is_sidecar:
                container.stop(grace_seconds)
        if self._timer:
            self._timer.cancel()
        self._timer = self._runtime.loop.after(grace_seconds, self._kill) if self._is_live() else None
        self._stop_sidecars()

    def _stop_sidecars(self) -> None:
        """Stop each sidecar when all regular containers and the later sidecars have ended."""
        assert self._kill_at is not None
        if any(container.state.is_live() for container in self._containers if not container.state.is_sidecar):
            return
        for container in reversed(self._containers):
            if container.state.is_sidecar and container.state.is_live():
                container.stop(max(0.0, self._kill_at - time.monotonic()))
                return

    def _kill(self) -> None:
        for container in self._containers:
            container.kill()

    def _publish(self) -> None:
        states = [container.state for container in self._containers]
        is_over = self._kill_at is not None and not self._is_live()
        phase = phase_of(states, self._policy, is_over=is_over)

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

    def _write(self, change: Callable[[Object], Object]) -> None:
        try:
            self._runtime.cache.update(POD, self.pod, change, subresource="status")
        except ApiError as error:
            if error.status != 404:  # the pod is gone; `remove` follows
                raise
