"""An independent watcher that follows etcd itself. etcd keeps every revision, so the watcher misses none.

It does not depend on the API server, which may be down, killed, or serving an old cache. While etcd is paused, nothing
is stored. When the connection breaks, the watcher resumes at the revision after the last one it has. When etcd is
restored to an older state, the watcher has to be told: `pause` before, `rewind` afterwards.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import TracebackType

import urllib3

from tests.chaos.history import Branch, LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion, read_version

_READ_SECONDS = 5.0
_RETRY_SECONDS = 0.1


class EtcdWatcher:
    """Records every revision of a namespace's runs, pods, Deployments and dispatcher Lease; a context manager.

    The API server must store JSON and never compact etcd (`ControlPlane(keeps_history=True)`).
    """

    def __init__(self, etcd_url: str, namespace: str) -> None:
        self._url = f"{etcd_url}/v3/watch"
        self._namespace = namespace
        self._changed = threading.Condition()
        self._branches: list[Branch] = []
        self._paused = False
        self._versions: list[Version] = []
        self._runs: dict[str, RunVersion] = {}
        self._ready: dict[str, bool] = defaultdict(bool)
        self._holder = ""
        self._next_revision = 1
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="etcd-watcher", daemon=True)

    def __enter__(self) -> EtcdWatcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._thread.join(2 * _READ_SECONDS)

    @property
    def versions(self) -> list[Version]:
        """All versions of the present branch so far, in the order of their revisions.

        Raises:
            RuntimeError: the watcher may have missed revisions.
        """
        with self._changed:
            self._check()
            return list(self._versions)

    @property
    def branches(self) -> list[Branch]:
        """What was stored up to each restore, and what etcd holds now.

        Raises:
            RuntimeError: the watcher may have missed revisions.
        """
        return [*self._branches, Branch(tuple(self.versions))]

    def pause(self, revision: int, *, seconds: float) -> None:
        """Wait until everything up to a revision is recorded, then record nothing until `rewind`.

        Raises:
            TimeoutError: etcd did not send it in time.
        """
        if not self.wait(lambda: self._next_revision > revision, seconds=seconds):
            raise TimeoutError(f"etcd's revision {revision} was not seen within {seconds} s")
        with self._changed:
            self._paused = True

    def rewind(self, revision: int) -> None:
        """Take in that etcd was restored, and holds what was stored up to a revision: a new branch begins."""
        with self._changed:
            self._branches.append(Branch(tuple(self._versions), ended_at=time.monotonic()))
            kept = [version for version in self._versions if version.revision <= revision]
            self._versions, self._runs, self._holder = [], {}, ""
            self._ready.clear()
            for version in kept:
                self._record(version)
            self._next_revision = revision + 1
            self._paused = False
            self._changed.notify_all()

    @property
    def holder(self) -> str:
        """The holder of the Lease, as last seen."""
        return self._holder

    def is_ready(self, workload: str) -> bool:
        """Return whether a Deployment is ready, as last seen."""
        with self._changed:
            return self._ready[workload]

    def run(self, uid: str) -> RunVersion | None:
        """Return a run as last seen; `None`: it is unknown, or gone."""
        with self._changed:
            return next((run for run in self._runs.values() if run.uid == uid), None)

    def in_flight(self) -> tuple[int, int]:
        """Return how many runs are queued and how many are active, as last seen."""
        with self._changed:
            present = [run for run in self._runs.values() if not run.gone and not run.end]
            return sum(run.suspended for run in present), sum(run.active for run in present)

    def finished(self) -> int:
        """Return how many runs have ended, as last seen."""
        with self._changed:
            return sum(bool(run.end) for run in self._runs.values())

    def wait(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until a condition over the watcher's state holds; return whether it does.

        Raises:
            RuntimeError: the watcher may have missed revisions.
        """
        with self._changed:
            held = self._changed.wait_for(lambda: self._failure is not None or condition(), seconds)
            self._check()
            return held

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the watcher may have missed revisions") from self._failure

    def _run(self) -> None:
        while not self._closing:
            if self._paused:
                time.sleep(_RETRY_SECONDS)
                continue
            try:
                self._follow()
            except (urllib3.exceptions.HTTPError, OSError):
                time.sleep(_RETRY_SECONDS)  # etcd is paused or restarting
            except Exception as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return

    def _follow(self) -> None:
        branch = len(self._branches)
        request = {
            "create_request": {
                "key": _encode("\0"),
                "range_end": _encode("\0"),  # all keys, so that no revision is left out
                "start_revision": str(self._next_revision),
            }
        }
        timeout = urllib3.Timeout(connect=_READ_SECONDS, read=_READ_SECONDS)
        with urllib3.PoolManager() as pool:
            response = pool.request(
                "POST", self._url, body=json.dumps(request), preload_content=False, timeout=timeout, retries=False
            )
            try:
                for line in _lines(response):
                    if self._closing:
                        return
                    self._record_events(json.loads(line), branch)
            finally:
                response.close()

    def _record_events(self, message: dict[str, object], branch: int) -> None:
        result = message.get("result")
        if not isinstance(result, dict) or result.get("canceled"):
            raise RuntimeError(f"etcd ended the watch: {message}")
        seen_at = time.monotonic()
        with self._changed:
            if self._paused or branch != len(self._branches):
                raise ConnectionError("etcd is being restored")
            for event in result.get("events", ()):
                stored = event["kv"]
                revision = int(stored["mod_revision"])
                value = None if event.get("type") == "DELETE" else base64.b64decode(stored.get("value", ""))
                key = base64.b64decode(stored["key"]).decode()
                version = read_version(key, value, namespace=self._namespace, revision=revision, seen_at=seen_at)
                if version is not None:
                    self._record(version)
                self._next_revision = revision + 1
            self._changed.notify_all()

    def _record(self, version: Version) -> None:
        self._versions.append(version)
        match version:
            case RunVersion():
                self._runs[version.name] = version
            case WorkloadVersion():
                self._ready[version.name] = version.ready
            case LeaseVersion():
                self._holder = version.holder
            case PodVersion():
                pass


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
