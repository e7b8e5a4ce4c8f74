"""The log of a pod's container, read from the node."""

import threading
from collections.abc import Iterator
from typing import Protocol

from devcluster.http.messages import Answer, Request, Stream
from devcluster.objects import Object


class LogSource(Protocol):
    """Where the logs of containers come from: the node."""

    def read(
        self,
        pod: Object,
        *,
        container: str | None,
        previous: bool,
        follow: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        limit_bytes: int | None,
        timestamps: bool,
    ) -> Iterator[bytes]:
        """Yield the log of a container, the only one when `container` is None; with `follow` until it ends.

        While there is nothing to follow, empty pieces come, so that a reader who has lost interest can stop.

        Raises:
            ApiError: 400, there is no such container or it has no log yet.
        """
        ...


def read_log(logs: LogSource, pod: Object, request: Request) -> Answer | Stream:
    """Answer a request for a pod's log.

    Raises:
        ApiError: 400, as `LogSource.read`, or a parameter makes no sense.
    """
    if not pod["spec"].get("nodeName"):
        return Answer(204, b"")  # there is no node to ask
    chunks = logs.read(
        pod,
        container=request.query.get("container") or None,
        previous=request.flag("previous"),
        follow=request.flag("follow"),
        tail_lines=request.number("tailLines"),
        since_seconds=request.number("sinceSeconds"),
        limit_bytes=request.number("limitBytes"),
        timestamps=request.flag("timestamps"),
    )
    first = next(chunks, b"")  # errors come before the answer's head is sent
    closed = threading.Event()
    return Stream(_chain(first, chunks, closed), closed.set, content_type="text/plain")


def _chain(first: bytes, rest: Iterator[bytes], closed: threading.Event) -> Iterator[bytes]:
    """All pieces, until the reader is gone."""
    yield first
    for piece in rest:
        if closed.is_set():
            return
        yield piece
