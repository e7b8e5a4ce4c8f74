"""Faults of the control plane itself: its API server stopped, its etcd paused or restored."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.dependencies import Dependencies, retry
from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.history import LeaseVersion
from tests.chaos.kinds import Kind
from tests.chaos.links import Links
from tests.controlplane.plane import ControlPlane
from tests.controlplane.snapshots import restore_snapshot, take_snapshot

_CHANGE_SECONDS = 40.0
_POLL_SECONDS = 0.02


class Outages:
    """Begins and ends outages.

    Args:
        plane: the control plane.
        watcher: must know of every restore.
        links: carry no request across a restore.
        dependencies: are as before after a restore.
        freezing: held while a process is paused. A restore waits for it: a request that survives a restore may break
            promises (docs/adr/0005-intent-in-the-lease.md, "Not covered"). For the same reason what the proxies hold
            back is dropped.
        stop: set to end all faults at once.
    """

    def __init__(
        self,
        plane: ControlPlane,
        watcher: EtcdWatcher,
        links: Links,
        dependencies: Dependencies,
        freezing: threading.Lock,
        stop: threading.Event,
    ) -> None:
        self._plane = plane
        self._watcher = watcher
        self._links = links
        self._dependencies = dependencies
        self._freezing = freezing
        self._stop = stop

    def begin(self, kind: Kind) -> str:
        """Stop or pause a program; return its name."""
        if kind is Kind.PAUSE_ETCD:
            self._plane.etcd.pause()
            return self._plane.etcd.name
        if kind is Kind.STOP_API_SERVER:
            self._plane.api_server.stop()
        else:
            self._plane.api_server.kill()
        return self._plane.api_server.name

    def end(self, kind: Kind) -> None:
        """End what `begin` began, and wait until the control plane works again."""
        if kind is Kind.PAUSE_ETCD:
            self._plane.etcd.resume()
        else:
            self._plane.api_server.start()
        retry(self._plane.restart_controllers)

    def take_snapshot(self, folder: Path) -> str:
        """Copy etcd's data to a folder; return etcd's name."""
        shutil.rmtree(folder, ignore_errors=True)
        take_snapshot(self._plane, folder)
        return self._plane.etcd.name

    def restore(self, folder: Path, *, age_seconds: float) -> None:
        """Restore a snapshot that was just taken, when it is so old at least, and the Lease was written since.

        Without such a write, the last leader could not tell the restored Lease from the one that it knows (ADR 5, "Not
        covered").
        """
        taken = self._plane.etcd_revision()
        self._stop.wait(age_seconds)
        self._wait_for(lambda: self._lease_revision() > taken)
        with self._freezing:
            restore_snapshot(self._plane, folder, before_loss=self._before_loss, after_loss=self._watcher.rewind)
        self._dependencies.reapply()

    def _lease_revision(self) -> int:
        versions = (version.revision for version in self._watcher.versions if isinstance(version, LeaseVersion))
        return max(versions, default=0)

    def _before_loss(self, revision: int) -> None:
        self._links.discard()
        self._watcher.pause(revision, seconds=_CHANGE_SECONDS)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _CHANGE_SECONDS
        while not condition() and time.monotonic() < deadline:
            self._stop.wait(_POLL_SECONDS)
