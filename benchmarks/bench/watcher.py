"""Record when each run was admitted, through a separate watch at the API server."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import urllib3
from kubernetes import client

from tests.support.servers import Server

_SECONDS = 900


class Watcher:
    """Records when Jobs are unsuspended.

    Attributes:
        admitted: when the event arrived (monotonic seconds), by Job name.
        uids: by Job name.
        failure: the error that ended the watch too early; `None` without one.
    """

    def __init__(self) -> None:
        self.admitted: dict[str, float] = {}
        self.uids: dict[str, str] = {}
        self.failure: Exception | None = None
        self._changed = threading.Condition()
        self._ended = False

    def wait_for(self, names: set[str], *, seconds: float) -> bool:
        """Wait until all of these are admitted; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: self.failure is not None or names <= self.admitted.keys(), seconds)

    def read(self, response: Any) -> None:
        """Read the watch until it ends."""
        try:
            rest = b""
            for chunk in response.stream(amt=None):
                arrived = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._note(json.loads(line), arrived)
            raise ConnectionError("the API server ended the watch")
        except Exception as error:
            with self._changed:
                if not self._ended:
                    self.failure = error
                self._changed.notify_all()

    def end(self) -> None:
        """Do not count the end of the watch as a failure any more."""
        with self._changed:
            self._ended = True

    def _note(self, event: dict[str, Any], arrived: float) -> None:
        job = event["object"]
        if event["type"] in ("ADDED", "MODIFIED") and not job["spec"].get("suspend"):
            with self._changed:
                self.admitted.setdefault(job["metadata"]["name"], arrived)
                self.uids[job["metadata"]["name"]] = job["metadata"]["uid"]
                self._changed.notify_all()


@contextmanager
def watch(server: Server, namespace: str, *definitions: str) -> Iterator[Watcher]:
    """Watch the runs of these definitions."""
    batch: Any = client.BatchV1Api(server.admin)
    selector = f"slimfaas.dev/job in ({','.join(definitions)})"
    listed = batch.list_namespaced_job(namespace, label_selector=selector, limit=1, _preload_content=False).data
    response = batch.list_namespaced_job(
        namespace,
        label_selector=selector,
        watch=True,
        resource_version=json.loads(listed)["metadata"]["resourceVersion"],
        timeout_seconds=_SECONDS,
        _preload_content=False,
    )
    watcher = Watcher()
    thread = threading.Thread(target=watcher.read, args=[response])
    thread.start()
    try:
        yield watcher
    finally:
        watcher.end()
        with suppress(ValueError, RuntimeError, OSError, urllib3.exceptions.HTTPError):
            response.shutdown()
        thread.join()
        response.close()
