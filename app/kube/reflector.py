"""Keeps a store equal to a collection: lists it once, then watches it.

Why this is ours and not the client's `SharedInformer`: docs/adr/0003-own-reflector-and-lease.md.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from app.common.backoff import Backoff, jittered
from app.common.outage_logger import OutageLogger
from app.common.types import Json
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, ExpiredError, error_of
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

    Args:
        client: of the namespace.
        collection: what to list and watch.
        read: makes a record of an object.
        store: to keep equal to the collection.
        name: of the collection, for logs and metrics.
        silence_seconds: after how long a watch without an event counts as dead.
        on_life: called when the watch has shown that it is alive: after an event, and after a regular end.
        on_break: called when the watch or the list has failed, after `synced` was cleared and before a new attempt.

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
    ) -> None:
        self._client = client
        self._collection = collection
        self._read = read
        self._store = store
        self._silence_seconds = silence_seconds
        self._on_life = on_life
        self._on_break = on_break
        self._resource_version: int | None = None
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
        while not self._stop.is_set():
            self._opened_at, retry_after_seconds = float("inf"), 0
            try:
                if self._resource_version is None:
                    self._resource_version = self._list()
                if self._resource_version is None:  # stopped during the list
                    return
                self._watch(self._resource_version)
                self._on_life()
                self._count("ended")
            except Exception as error:
                if not self._stop.is_set():
                    self._handle(error)
                retry_after_seconds = (error.retry_after_seconds if isinstance(error, ClusterError) else None) or 0
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
        if isinstance(error, ClusterError):
            self._outage.failed(error)
            if was_synced and error.retryable:
                return
        else:
            log.error("the watch of %s brought what can't be read", self._name, exc_info=error)
        # List again: after a second failure nobody knows how much was missed, after 410 Gone or a refusal the watch
        # can't be resumed, and after an unreadable event a list may show the object repaired.
        if isinstance(error, ExpiredError):
            log.info("the history of %s has expired, listing again", self._name)
        self._resource_version = None

    def _count(self, reason: str) -> None:
        metrics.WATCH_ENDS.labels(self._name, reason).inc()

    def _list(self) -> int | None:
        """Fill the store. Return the list's resourceVersion; `None` if the reflector was stopped during the list."""
        records: list[T] = []
        listed_at = 0  # the same on every page
        for items, resource_version in self._client.pages(self._collection):
            if self._stop.is_set():
                return None
            records += [self._read(item) for item in items]
            listed_at = resource_version
        if self._stop.is_set():
            return None
        self._store.replace(records, listed_at)
        return listed_at

    def _watch(self, resource_version: int) -> None:
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": resource_version,
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
                self.synced.set()
                self._outage.recovered()
                for line in stream.lines():
                    self._take(json.loads(line))
            finally:
                self._stream = None

    def _take(self, event: Json) -> None:
        kind, changed = event["type"], event["object"]
        if kind == "ERROR":
            self._resource_version = None  # a watch from here might meet the same error again
            raise error_of(int(changed.get("code") or 500), json.dumps(changed).encode())
        if kind == "DELETED":
            self._store.remove(self._read(changed))
        elif kind != "BOOKMARK":
            self._store.put(self._read(changed))
        self._resource_version = int(changed["metadata"]["resourceVersion"])
        self._on_life()


def _reason_of(error: Exception) -> str:
    """Return why a watch ended, for its metric."""
    match error:
        case ExpiredError():
            return "expired"
        case ClusterError():
            return "broken" if error.retryable else "refused"
        case _:
            return "unreadable"
