"""The independent watcher: follows etcd itself, which keeps every revision, and so can miss none.

An API server that is away, was killed, or serves an old cache is nothing to it. While etcd stands still nothing is
stored, and when its connection breaks the watcher goes on with the revision after the last one that it has.
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

from tests.chaos.history import LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion, read_version

_READ_SECONDS = 5.0
_RETRY_SECONDS = 0.1


class Ledger:
    """Every revision of a namespace's runs, pods, Deployments and dispatcher's Lease; a context manager.

    etcd must store JSON and never be compacted (`ControlPlane(keeps_history=True)`).
    """

    def __init__(self, etcd_url: str, namespace: str) -> None:
        self._url = f"{etcd_url}/v3/watch"
        self._namespace = namespace
        self._changed = threading.Condition()
        self._versions: list[Version] = []
        self._runs: dict[str, RunVersion] = {}
        self._ready: dict[str, bool] = defaultdict(bool)
        self._holder = ""
        self._next_revision = 1
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._thread.join(2 * _READ_SECONDS)

    @property
    def versions(self) -> list[Version]:
        """All so far, in the order of their revisions.

        Raises:
            RuntimeError: there is a gap.
        """
        with self._changed:
            self._check()
            return list(self._versions)

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen."""
        return self._holder

    def is_ready(self, workload: str) -> bool:
        """Whether a Deployment is ready, as last seen."""
        with self._changed:
            return self._ready[workload]

    def in_flight(self) -> tuple[int, int]:
        """How many runs are queued, and how many active, as last seen."""
        with self._changed:
            present = [run for run in self._runs.values() if not run.gone and not run.end]
            return sum(run.suspended for run in present), sum(run.active for run in present)

    def finished(self) -> int:
        """How many runs have ended, as last seen."""
        with self._changed:
            return sum(bool(run.end) for run in self._runs.values())

    def wait(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until a condition over what was seen holds; whether it does.

        Raises:
            RuntimeError: there is a gap.
        """
        with self._changed:
            held = self._changed.wait_for(lambda: self._failure is not None or condition(), seconds)
            self._check()
            return held

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError("the watcher has a gap in what it saw") from self._failure

    def _run(self) -> None:
        while not self._closing:
            try:
                self._follow()
            except (urllib3.exceptions.HTTPError, OSError):
                time.sleep(_RETRY_SECONDS)  # etcd stands still, or was started anew
            except Exception as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return

    def _follow(self) -> None:
        request = {
            "create_request": {
                "key": _encode("/registry/"),
                "range_end": _encode("/registry0"),
                "start_revision": str(self._next_revision),
            }
        }
        timeout = urllib3.Timeout(connect=_READ_SECONDS, read=_READ_SECONDS)
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "POST", self._url, body=json.dumps(request), preload_content=False, timeout=timeout, retries=False
            )
            try:
                for line in _lines(answer):
                    if self._closing:
                        return
                    self._take(json.loads(line))
            finally:
                answer.close()

    def _take(self, message: dict[str, object]) -> None:
        result = message.get("result")
        if not isinstance(result, dict) or result.get("canceled"):
            raise RuntimeError(f"etcd ends the watch: {message}")
        seen_at = time.monotonic()
        with self._changed:
            for event in result.get("events", ()):
                stored = event["kv"]
                revision = int(stored["mod_revision"])
                value = None if event.get("type") == "DELETE" else base64.b64decode(stored.get("value", ""))
                key = base64.b64decode(stored["key"]).decode()
                version = read_version(key, value, namespace=self._namespace, revision=revision, seen_at=seen_at)
                if version is not None:
                    self._keep(version)
                self._next_revision = revision + 1
            self._changed.notify_all()

    def _keep(self, version: Version) -> None:
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


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    for chunk in answer.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
