"""An observer of a namespace's runs that shares no code and no connection with the service.

It watches Jobs and pods and records what the cluster's final state does not show: the most runs that were active at
once, and how often each run was started::

    with Observer(server.admin, namespace) as seen:
        ...
        seen.wait(lambda: seen.finished >= set(names))
    assert seen.most_active["fibonacci"] <= 2
    assert seen.starts == dict.fromkeys(names, 1)
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Any

import urllib3
from kubernetes import client

from tests.support.revisions import Revisions
from tests.support.waiting import DEADLINE_SECONDS

_READ_SECONDS = 5.0
_RETRY_SECONDS = 0.05

_Json = dict[str, Any]


class Observer:
    """Watches the runs of a namespace while its context is entered.

    It sees every change in order, even when the API server is unavailable for a while. If it misses a change, every
    later `wait` and the exit from the context fail.

    A restarted kube-apiserver serves no watch from before its start, but it lists every revision that etcd still has.
    The observer then reads those revisions one by one.

    Args:
        admin: a client that may list and watch Jobs and pods.
        namespace: the namespace of the runs.

    Attributes:
        most_active: by definition, the highest number of Jobs that were unsuspended and unfinished at the same time.
        most_pods: by definition, the highest number of unfinished pods at the same time, terminating ones included.
        starts: by Job, how often it was created unsuspended or became unsuspended.
        started: Jobs in the order of their starts.
        pods: by Job, the uids of all pods it ever had.
        finished: Jobs that were seen with a terminal condition.
        gone: Jobs that were seen deleted.
    """

    def __init__(self, admin: client.ApiClient, namespace: str) -> None:
        self._changed = threading.Condition()
        self._closing = False
        self._failure: Exception | None = None
        self._active: dict[str, set[str]] = defaultdict(set)
        self._alive: dict[str, set[str]] = defaultdict(set)
        self._suspended: dict[str, bool] = {}  # by uid
        self.most_active: dict[str, int] = defaultdict(int)
        self.most_pods: dict[str, int] = defaultdict(int)
        self.starts: dict[str, int] = {}
        self.started: list[str] = []
        self.pods: dict[str, set[str]] = defaultdict(set)
        self.finished: set[str] = set()
        self.gone: set[str] = set()
        self._watches = [
            Revisions(admin, f"/apis/batch/v1/namespaces/{namespace}/jobs", self._see_job),
            Revisions(admin, f"/api/v1/namespaces/{namespace}/pods", self._see_pod),
        ]

    def __enter__(self) -> "Observer":
        """Start watching; existing objects count as seen."""
        for watch in self._watches:
            watch.begin()
        self._threads = [threading.Thread(target=self._follow, args=(watch,), daemon=True) for watch in self._watches]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for watch in self._watches:
            watch.close()
        for thread in self._threads:
            thread.join(_READ_SECONDS)
        if error is None and self._failure is not None:
            raise AssertionError("the observer may have missed changes") from self._failure

    def wait(self, condition: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until a condition over the observer's attributes holds.

        Raises:
            AssertionError: the condition did not hold in time, or a change was missed.
        """
        with self._changed:
            held = self._changed.wait_for(lambda: self._failure is not None or condition(), seconds)
            if self._failure is not None:
                raise AssertionError("the observer may have missed changes") from self._failure
            active = {definition: len(uids) for definition, uids in self._active.items()}
            assert held, (
                f"the condition did not hold within {seconds} s; started {len(self.starts)}, "
                f"finished {len(self.finished)}, gone {len(self.gone)}, active {active}"
            )

    def active(self, definition: str) -> int:
        """Return how many of a definition's Jobs are unsuspended and unfinished, as last seen."""
        with self._changed:
            return len(self._active[definition])

    def has_started(self, count: int) -> bool:
        """Return whether at least `count` runs have started."""
        return len(self.starts) >= count

    def has_finished(self, count: int) -> bool:
        """Return whether at least `count` runs have finished."""
        return len(self.finished) >= count

    def _follow(self, watch: Revisions) -> None:
        while not self._closing:
            try:
                if watch.is_behind:
                    watch.catch_up()
                watch.follow()
            except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
                if getattr(error, "status", None) == 410:
                    if watch.is_behind:
                        self._fail(error)
                        return
                    watch.is_behind = True
                time.sleep(_RETRY_SECONDS)  # the API server may be unavailable for a while
            except Exception as error:
                self._fail(error)
                return

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if not self._closing:
                self._failure = error
            self._changed.notify_all()

    def _see_job(self, kind: str, job: _Json) -> None:
        metadata = job["metadata"]
        uid, name = metadata["uid"], metadata["name"]
        definition = (metadata.get("labels") or {}).get("slimfaas.dev/job", "")
        conditions = (job.get("status") or {}).get("conditions") or ()
        ended = any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
        # A run that was ended in the queue is not suspended, but can have no pod.
        suspended = bool(job["spec"].get("suspend")) or job["spec"].get("parallelism") == 0
        with self._changed:
            if not suspended and self._suspended.get(uid, True):
                self.starts[name] = self.starts.get(name, 0) + 1
                self.started.append(name)
            self._suspended[uid] = suspended
            if ended:
                self.finished.add(name)
            if kind == "DELETED":
                self.gone.add(name)
            _count(self._active, self.most_active, definition, uid, not (suspended or ended or kind == "DELETED"))
            self._changed.notify_all()

    def _see_pod(self, kind: str, pod: _Json) -> None:
        metadata = pod["metadata"]
        labels = metadata.get("labels") or {}
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        with self._changed:
            self.pods[labels.get("batch.kubernetes.io/job-name", "")].add(metadata["uid"])
            definition = labels.get("slimfaas.dev/job", "")
            _count(self._alive, self.most_pods, definition, metadata["uid"], not (ended or kind == "DELETED"))
            self._changed.notify_all()


def _count(now: dict[str, set[str]], most: dict[str, int], definition: str, uid: str, counts: bool) -> None:
    if counts:
        now[definition].add(uid)
    else:
        now[definition].discard(uid)
    most[definition] = max(most[definition], len(now[definition]))
