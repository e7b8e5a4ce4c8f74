"""Watches: the changes of a collection as a stream of JSON lines.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

import time
from collections.abc import Iterator
from secrets import SystemRandom
from typing import Any

from devcluster.errors import ApiError, invalid_options, unclassified
from devcluster.http.lists import ListOptions
from devcluster.http.messages import Request, Stream, encode, version_cause
from devcluster.http.representation import Representation
from devcluster.http.routing import Route
from devcluster.kinds import Kind
from devcluster.objects import Object, clone
from devcluster.selectors import Selector
from devcluster.store import Store, Subscription, WatchEvent
from devcluster.validation.fields import forbidden, not_supported

_BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0  # before the end; as in the API server's watch cache
_MIN_TIMEOUT_SECONDS = 1800.0  # of a watch without timeoutSeconds; kube-apiserver's --min-request-timeout
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def open_watch(
    store: Store, request: Request, route: Route, options: ListOptions, representation: Representation
) -> Stream:
    """Respond to a watch request.

    Raises:
        ApiError: 422, the options are invalid.
    """
    _check_options(request, options)
    timeout_seconds = request.number("timeoutSeconds")
    if not timeout_seconds or timeout_seconds < 0:
        timeout_seconds = None
    initial: list[Object] = []
    since = int(options.resource_version or 0)
    send_initial = request.flag("sendInitialEvents") or (not since and "sendInitialEvents" not in request.query)
    if send_initial or not since:
        objects, current = store.list(route.kind, route.namespace, options.selector)
        initial, since = (objects if send_initial else []), current
    watch = _Watch(
        store.subscribe(route.kind, route.namespace, since),
        route.kind,
        options.selector,
        representation,
        bookmarks=request.flag("allowWatchBookmarks"),
        # Drawn, so that watches that were opened together are not opened again together.
        deadline=time.monotonic() + (timeout_seconds or _MIN_TIMEOUT_SECONDS * (1 + SystemRandom().random())),
    )
    return Stream(watch.stream(initial, announce_end=request.flag("sendInitialEvents")), watch.subscription.close)


def _check_options(request: Request, options: ListOptions) -> None:
    version, field = options.resource_version, "resourceVersionMatch"
    causes = []
    if "sendInitialEvents" in request.query:
        if options.resource_version_match != "NotOlderThan":
            detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(forbidden(field, detail))
    elif options.resource_version_match:
        detail = f"{field} is forbidden for watch unless sendInitialEvents is provided"
        causes.append(forbidden(field, detail))
        if options.resource_version_match != "NotOlderThan":
            causes.append(not_supported(field, options.resource_version_match, ["NotOlderThan"]))
    if causes:
        raise invalid_options("ListOptions", causes)
    if version and not (version.isascii() and version.isdigit()):
        cause = version_cause(version)
        raise unclassified(f"{cause.field}: {cause.message}")


class _Watch:
    def __init__(
        self,
        subscription: Subscription,
        kind: Kind,
        selector: Selector | None,
        representation: Representation,
        *,
        bookmarks: bool,
        deadline: float,
    ) -> None:
        self.subscription = subscription
        self._sent_revision = subscription.revision  # the last revision sent; a bookmark must be newer
        self._kind = kind
        self._selector = selector
        self._representation = representation
        self._bookmarks = bookmarks
        self._deadline = deadline
        self._first = True

    def stream(self, initial: list[Object], *, announce_end: bool) -> Iterator[bytes]:
        """Yield the events as lines, until the deadline, the end of the subscription, or a 410."""
        if initial:
            yield b"".join(self._line("ADDED", obj) for obj in initial)
        if announce_end and self._bookmarks:
            yield self._bookmark({_INITIAL_EVENTS_END: "true"})
        next_bookmark = self._bookmark_after(time.monotonic())
        try:
            while not self.subscription.closed and (now := time.monotonic()) < self._deadline:
                if now >= next_bookmark:
                    next_bookmark = self._bookmark_after(now)
                    if self._bookmarks and self.subscription.revision > self._sent_revision:
                        yield self._bookmark({})
                events = self.subscription.wait(min(next_bookmark, self._deadline) - now)
                lines = b"".join(filter(None, map(self._translate, events)))
                if lines:
                    self._sent_revision = events[-1].revision
                    yield lines
        except ApiError as error:
            yield encode({"type": "ERROR", "object": error.to_status()}) + b"\n"

    def _bookmark_after(self, now: float) -> float:
        last = self._deadline - _LAST_BOOKMARK_SECONDS
        following = now + _BOOKMARK_SECONDS
        return last if now < last < following else following

    def _translate(self, event: WatchEvent) -> bytes | None:
        """Return the event for this watch: an object that stops matching the selector counts as deleted."""
        if self._selector is None:
            return self._line(event.type, event.object)
        before = event.previous is not None and self._selector(event.previous)
        after = event.type != "DELETED" and self._selector(event.object)
        if after:
            return self._line("MODIFIED" if before else "ADDED", event.object)
        if before and event.previous is not None:
            last = clone(event.previous)
            last["metadata"]["resourceVersion"] = str(event.revision)
            return self._line("DELETED", last)
        return None

    def _line(self, event_type: str, obj: Object) -> bytes:
        shaped = self._representation.shape_event(self._kind, obj, first=self._first)
        self._first = False
        return encode({"type": event_type, "object": shaped}) + b"\n"

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(self.subscription.revision)}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}
        return encode({"type": "BOOKMARK", "object": obj}) + b"\n"
