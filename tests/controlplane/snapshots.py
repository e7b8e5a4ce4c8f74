"""Copies of etcd's data, taken while it runs, and put back as an administrator would who restores a disk's snapshot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import requests

from tests.controlplane.plane import ControlPlane

_START_SECONDS = 30.0
_POLL_SECONDS = 0.05


def take_snapshot(plane: ControlPlane, folder: Path) -> None:
    """Copy etcd's data to a new folder, as it is at one moment.

    etcd is paused meanwhile. So the copy is what etcd finds when it starts again after a crash at that moment.
    """
    plane.etcd.pause()
    try:
        shutil.copytree(plane.etcd_folder, folder)
    finally:
        plane.etcd.resume()


def restore_snapshot(
    plane: ControlPlane,
    folder: Path,
    *,
    before_loss: Callable[[int], object] = lambda revision: None,
    after_loss: Callable[[int], object] = lambda revision: None,
) -> None:
    """Put etcd's data back while the API server and the controllers are stopped, then start them all again.

    Args:
        plane: the control plane.
        folder: where `take_snapshot` put the copy.
        before_loss: called with etcd's last revision, after the API server was stopped and before the data goes.
        after_loss: called with the revision that the copy ends with, before the API server is started.
    """
    for component in (plane.controller_manager, plane.scheduler, plane.kwok, plane.api_server):
        component.kill()
    before_loss(_settled_revision(plane))
    plane.etcd.kill()
    shutil.rmtree(plane.etcd_folder)
    shutil.copytree(folder, plane.etcd_folder)
    plane.etcd.start()
    after_loss(_settled_revision(plane))
    plane.api_server.start()
    plane.restart_controllers()


def _settled_revision(plane: ControlPlane) -> int:
    """Return etcd's revision once it answers, and what a stopped API server has sent is stored."""
    deadline = time.monotonic() + _START_SECONDS
    last = -1
    while True:
        try:
            revision = plane.etcd_revision()
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
        else:
            if revision == last:
                return revision
            last = revision
        time.sleep(_POLL_SECONDS)
