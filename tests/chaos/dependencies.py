"""The Deployments that runs depend on, and when they are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import requests

from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.schedule import FLAPPING, SWITCHED, gate_name
from tests.controlplane.plane import ControlPlane

_RETRY_SECONDS = 0.5
_MERGE_PATCH = "application/merge-patch+json"


class Dependencies:
    """Creates the Deployments, and makes them ready and unready."""

    def __init__(self, plane: ControlPlane, watcher: EtcdWatcher, namespace: str, gates: int) -> None:
        self._plane = plane
        self._watcher = watcher
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._lock = threading.Lock()
        self._replicas = {gate_name(number): 0 for number in range(gates)} | {FLAPPING: 1, SWITCHED: 1}

    def make(self) -> None:
        """Create all: the gates, unready, and the others, ready."""
        for name, replicas in self._replicas.items():
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
            }
            spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
            self._plane.call("POST", self._path, {"metadata": {"name": name}, "spec": spec})
        for name in (FLAPPING, SWITCHED):
            assert self._watcher.wait(partial(self._watcher.is_ready, name), seconds=30.0)

    def set_ready(self, name: str, *, ready: bool) -> None:
        """Make one ready or unready."""
        with self._lock:
            self._replicas[name] = int(ready)
            self._apply(name)

    def reapply(self) -> None:
        """Repeat what was changed, after a restore of etcd has undone it."""
        for name in self._replicas:
            with self._lock:
                self._apply(name)

    def _apply(self, name: str) -> None:
        patch = {"spec": {"replicas": self._replicas[name]}}
        retry(lambda: self._plane.call("PATCH", f"{self._path}/{name}", patch, content_type=_MERGE_PATCH))


def retry(act: Callable[[], object]) -> None:
    """Repeat an idempotent action until it succeeds, because the API server may be down."""
    deadline = time.monotonic() + 60.0
    while True:
        try:
            act()
        except (requests.RequestException, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
