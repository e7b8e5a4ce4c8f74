"""Keeping up with a collection: list once, then watch, for as long as it takes.

Why this is ours and not the client's `SharedInformer`: docs/adr/0003-own-reflector-and-lease.md.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

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
"""How long the API server is asked to keep a watch open. Beginning a watch again is one cheap call, and that it ends
by itself is what tells a quiet watch from a dead one."""

SILENCE_SECONDS = WATCH_SECONDS + 10.0
"""A watch that has brought nothing for so long, or that is still open then, is dead: it should have ended by itself."""

_FIRST_BACKOFF_SECONDS = 0.1
_LAST_BACKOFF_SECONDS = 5.0

_STEADY_SECONDS = 1.0
"""A watch that was open for so long, and for longer than the pause before it, ended the row of failures."""


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
    """A thread that shows a sink every change of a collection, in order, and from a list where it lost the thread.

    It survives an API server that is away, answers 5xx, ends its watches, forgets their history (410 Gone) or falls
    silent: it goes on where it was, or lists again.

    Args:
        client: whose objects.
        collection: of them.
        read: makes a record of an object.
        sink: is shown the records.
        name: of the collection, for logs and metrics.
        silence_seconds: after how long a watch that brings nothing counts as dead.
        on_life: called after the watch has shown that it is alive: it has brought something, or ended as it should.

    Attributes:
        synced: set while the sink is kept up to date: it has been filled, and a watch is open, or was until a moment
            ago and has ended well.
    """

    def __init__(
        self,
        client: NamespacedClient,
        collection: ResourceSelector,
        read: Callable[[Json], T],
        sink: Store[T],
        *,
        name: str,
        silence_seconds: float = SILENCE_SECONDS,
        on_life: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._collection = collection
        self._read = read
        self._sink = sink
        self._silence_seconds = silence_seconds
        self._on_life = on_life
        self._resource_version: int | None = None
        self._stream: Stream | None = None
        self._opened_at = float("inf")  # when the last watch was
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)
        self._name = name
        self._outage = OutageLogger(log, f"the watch of {name} fails")
        self.synced = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and end what it waits for; returns at once."""
        self._stop.set()
        if (stream := self._stream) is not None:
            stream.close()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        backoff_seconds = _FIRST_BACKOFF_SECONDS
        while not self._stop.is_set():
            self._opened_at, asked_seconds = float("inf"), 0
            try:
                if self._resource_version is None:
                    self._resource_version = self._list()
                if self._resource_version is None:  # it is time to stop
                    return
                self._watch(self._resource_version)
                self._on_life()
                self._count("ended")
            except Exception as error:
                if not self._stop.is_set():
                    self._take_in(error)
                asked_seconds = (error.retry_after_seconds if isinstance(error, ClusterError) else None) or 0
            if time.monotonic() - self._opened_at > max(backoff_seconds, _STEADY_SECONDS):
                backoff_seconds = _FIRST_BACKOFF_SECONDS
            # Also after a watch that ended well: a server that ends each one at once must not be asked in a tight loop.
            jittered_seconds = backoff_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
            self._stop.wait(max(jittered_seconds, asked_seconds))
            backoff_seconds = min(backoff_seconds * 2, _LAST_BACKOFF_SECONDS)

    def _take_in(self, error: Exception) -> None:
        """Try once to go on where the watch broke; else list, for nobody knows how much there is to catch up on."""
        was_synced = self.synced.is_set()
        self.synced.clear()
        self._count(_reason_of(error))
        if isinstance(error, ClusterError):
            self._outage.failed(error)
            if was_synced and error.retryable:
                return
        else:
            log.error("the watch of %s brought what can't be read", self._name, exc_info=error)
        # Also after 410 Gone, or where it was refused for what it asks; and what can't be read must not end the watch
        # for good: a list may show it mended.
        if isinstance(error, ExpiredError):
            log.info("the history of %s has expired, listing again", self._name)
        self._resource_version = None

    def _count(self, reason: str) -> None:
        metrics.WATCH_ENDS.labels(self._name, reason).inc()

    def _list(self) -> int | None:
        """Fill the sink; returns the moment that it shows, `None` where it was stopped on the way."""
        records: list[T] = []
        listed_at = 0  # the same on every page
        for items, resource_version in self._client.pages(self._collection):
            if self._stop.is_set():
                return None
            records += [self._read(item) for item in items]
            listed_at = resource_version
        self._sink.replace(records, listed_at)
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
                if self._stop.is_set():  # stop() may have looked for the stream just before
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
            self._resource_version = None  # whatever it was, going on from here may meet it again
            raise error_of(int(changed.get("code") or 500), json.dumps(changed).encode())
        if kind == "DELETED":
            self._sink.remove(self._read(changed))
        elif kind != "BOOKMARK":
            self._sink.put(self._read(changed))
        self._resource_version = int(changed["metadata"]["resourceVersion"])
        self._on_life()


def _reason_of(error: Exception) -> str:
    """Why a watch ended, for its metric."""
    match error:
        case ExpiredError():
            return "expired"
        case ClusterError():
            return "broken" if error.retryable else "refused"
        case _:
            return "unreadable"
