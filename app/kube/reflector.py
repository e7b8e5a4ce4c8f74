"""Keeps a store equal to a collection: lists it once, then watches it.

Why this is ours and not the client's `SharedInformer`: docs/adr/0003-own-reflector-and-lease.md.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from app.common.backoff import Backoff, jittered
from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ExpiredError, ForbiddenError, NotFoundError, error_of
from app.kube.paging import ResourceSelector
from app.kube.transport import Stream
from app.telemetry import metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 50
"""How long the API server is asked to keep a watch open. To open a watch again is one cheap call, and its regular end
tells a quiet watch from a dead one."""

SILENCE_SECONDS = WATCH_SECONDS + 10.0
"""After so many seconds without an event, or open in all, a watch is dead: it should have ended by itself."""

_BACKOFF = Backoff(first_seconds=0.1, last_seconds=5.0)

_REFUSED_BACKOFF = Backoff(first_seconds=5.0, last_seconds=300.0)
"""For a collection that the process can do without: a right that is missing may never be granted."""

_REFUSALS = (ForbiddenError, NotFoundError)

_STEADY_SECONDS = 1.0
"""A watch that was open for so long, and for longer than the wait before it, resets the backoff."""


class Store(Protocol[T]):
    """What a reflector keeps up to date; called from the reflector's thread, one call at a time."""

    def replace(self, records: list[T], version: int) -> None:
        """Hold these records and no others, as they were at this resourceVersion.

        A list is a consistent read. One that is older than what was known before it is to be believed: etcd has been
        restored.
        """

    def put(self, record: T) -> None:
        """Hold this record, which may be new or changed."""

    def remove(self, record: T) -> None:
        """Hold this record no longer."""


class Reflector(Generic[T]):
    """A thread that passes every change of a collection to a store, in order.

    It survives an API server that is unreachable, responds with 5xx, ends watches, has dropped their history (410 Gone)
    or falls silent: it resumes the watch where it broke, or lists again.

    Etcd may have been restored to an older state while a watch was broken. An API server then lets the watch go on from
    a version that it has not reached yet, and does not show what the restore took back
    (https://github.com/kubernetes/kubernetes/issues/107457). So after a break the watch goes on from the last change
    that it showed, and only if the object of that change is still in the same version. Otherwise the collection is
    listed again. A restore takes back the latest changes, so what was shown before that change stands as well.

    Args:
        client: of the namespace.
        collection: what to list and watch.
        read: makes a record of an object.
        store: to keep equal to the collection.
        name: of the collection, for logs and metrics.
        silence_seconds: after how long a watch without an event counts as dead.
        on_life: called when the watch has shown that it is alive: after an event, and after a regular end.
        on_break: called when the watch or the list has failed, after `synced` was cleared and before a new attempt.
        on_refused: called instead of logging an outage when the API server refuses the list or the watch (401, 403 or
            404). Such an attempt is repeated less and less often. `None`: a refusal is an outage like any other.

    Attributes:
        synced: set while the store is up to date: it has been filled, and a watch is open, or has just ended regularly.
    """

    def __init__(
        self,
        client: NamespacedClient,
        collection: ResourceSelector,
        read: Callable[[Json], T],
        store: Store[T],
        *,
        name: str,
        silence_seconds: float = SILENCE_SECONDS,
        on_life: Callable[[], None] = lambda: None,
        on_break: Callable[[], None] = lambda: None,
        on_refused: Callable[[ClusterError], None] | None = None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._read = read
        self._store = store
        self._silence_seconds = silence_seconds
        self._on_life = on_life
        self._on_break = on_break
        self._on_refused = on_refused
        self._resource_version: int | None = None
        self._last_change: _Change | None = None  # None: there was none, or it was a deletion
        self._was_broken = False  # the watch before the next one
        self._stream: Stream | None = None
        self._opened_at = float("inf")  # when the last watch was opened
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)
        self._name = name
        self._outage = OutageLogger(log, f"the watch of {name} fails")
        self.synced = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and close its watch; returns at once."""
        self._stop.set()
        if (stream := self._stream) is not None:
            stream.close()

    def join(self, timeout_seconds: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        backoff = _BACKOFF
        refused_backoff = _REFUSED_BACKOFF
        while not self._stop.is_set():
            self._opened_at, retry_after_seconds = float("inf"), 0.0
            try:
                if self._resource_version is None:
                    self._resource_version = self._list()
                if self._resource_version is None:  # stopped during the list
                    return
                self._watch()
                self._on_life()
                self._count("ended")
            except Exception as error:
                if not self._stop.is_set():
                    self._handle(error)
                retry_after_seconds = (error.retry_after_seconds if isinstance(error, ClusterError) else None) or 0
                if self._is_refused(error):
                    refused_backoff = refused_backoff.next(time.monotonic())
                    retry_after_seconds = max(retry_after_seconds, jittered(refused_backoff.seconds))
            else:
                refused_backoff = refused_backoff.reset()
            now = time.monotonic()
            if now - self._opened_at > max(backoff.seconds, _STEADY_SECONDS):
                backoff = backoff.reset()
            backoff = backoff.next(now)
            # Also after a regular end: a server that ends each watch at once must not be called in a tight loop.
            self._stop.wait(max(jittered(backoff.seconds), retry_after_seconds))

    def _handle(self, error: Exception) -> None:
        """Log an error, and decide whether the watch is resumed once, or the collection is listed again."""
        was_synced = self.synced.is_set()
        self.synced.clear()
        self._on_break()
        self._count(_reason_of(error))
        if self._on_refused is not None and isinstance(error, _REFUSALS):
            self._on_refused(error)
        elif isinstance(error, ClusterError):
            self._outage.failed(error)
            if was_synced and error.retryable and self._last_change is not None:
                self._was_broken, self._resource_version = True, self._last_change.resource_version
                return
        else:
            log.error("the watch of %s delivered data that can't be read", self._name, exc_info=error)
        # List again: after a second failure nobody knows how much was missed, after 410 Gone or a refusal the watch
        # can't be resumed, and after an unreadable event a list may show the object repaired.
        if isinstance(error, ExpiredError):
            log.info("the watch of %s can't be resumed, listing again: %s", self._name, error.message)
        self._resource_version = None

    def _is_refused(self, error: Exception) -> bool:
        return self._on_refused is not None and isinstance(error, _REFUSALS)

    def _count(self, reason: str) -> None:
        metrics.WATCH_ENDS.labels(self._name, reason).inc()

    def _list(self) -> int | None:
        """Fill the store. Return the list's resourceVersion; `None` if the reflector was stopped during the list."""
        records: list[T] = []
        listed_at = 0  # the same on every page
        last_change: _Change | None = None
        for items, resource_version in self._client.pages(self._collection):
            if self._stop.is_set():
                return None
            records += [self._read(item) for item in items]
            changes = [_change_of(item) for item in items]
            last_change = max([*changes, *([last_change] if last_change else [])], default=None)
            listed_at = resource_version
        if self._stop.is_set():
            return None
        self._store.replace(records, listed_at)
        self._last_change, self._was_broken = last_change, False
        return listed_at

    def _watch(self) -> None:
        assert self._resource_version is not None
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": self._resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_SECONDS,
        }
        if self._collection.label_selector:
            query["labelSelector"] = self._collection.label_selector
        server = self._client.transport
        with server.stream(
            self._collection.path, query, silence_seconds=self._silence_seconds, whole_seconds=SILENCE_SECONDS
        ) as stream:
            self._stream = stream
            try:
                if self._stop.is_set():  # stop() may have found no stream to close just before
                    return
                self._opened_at = time.monotonic()
                if self._was_broken:
                    self._check_last_change()
                self.synced.set()
                self._outage.recovered()
                for line in stream.lines():
                    self._take(json.loads(line))
            finally:
                self._stream = None

    def _check_last_change(self) -> None:
        """Check that the last change that was shown still stands. Called with a watch open, which a restore would end.

        Raises:
            ExpiredError: the object has changed or is gone. Only a list tells whether etcd was restored.
            ClusterError: the call to the API server failed.
        """
        assert self._last_change is not None
        query: dict[str, str | int] = {"fieldSelector": f"metadata.name={self._last_change.name}", "limit": 1}
        found = self._client.transport.call("GET", self._collection.path, query=query)["items"]
        if [_change_of(item) for item in found] != [self._last_change]:
            raise ExpiredError(f"{self._last_change.name} has changed or is gone")
        self._was_broken = False

    def _take(self, event: Json) -> None:
        kind, changed = event["type"], event["object"]
        if kind == "ERROR":
            self._resource_version = None  # a watch from here might meet the same error again
            raise error_of(int(changed.get("code") or 500), json.dumps(changed).encode())
        if kind == "DELETED":
            self._store.remove(self._read(changed))
            self._last_change = None
        elif kind != "BOOKMARK":
            self._store.put(self._read(changed))
            self._last_change = _change_of(changed)
        self._resource_version = int(changed["metadata"]["resourceVersion"])
        self._on_life()


class _Change(NamedTuple):
    """An object in the version that a change has made; the later of two is the larger one."""

    resource_version: int
    name: str
    uid: str


def _change_of(item: Json) -> _Change:
    metadata = item["metadata"]
    return _Change(int(metadata["resourceVersion"]), metadata["name"], metadata["uid"])


def _reason_of(error: Exception) -> str:
    """Return why a watch ended, for its metric."""
    match error:
        case ExpiredError():
            return "expired"
        case ClusterError():
            return "broken" if error.retryable else "refused"
        case _:
            return "unreadable"
