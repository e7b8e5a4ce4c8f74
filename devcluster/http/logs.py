"""Container logs, read from the node.

The options and their rules are those of `ValidatePodLogOptions`; see
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from devcluster.errors import Cause, bad_request, invalid
from devcluster.http.messages import Request, Response, Stream
from devcluster.kinds import Kind
from devcluster.objects import Object, parse_time
from devcluster.validation.fields import check_not_negative, forbidden
from devcluster.validation.fields import invalid as invalid_value

_OPTIONS = Kind("", "v1", "PodLogOptions", "podlogoptions", "podlogoptions")  # only for error messages


@dataclass(frozen=True)
class LogOptions:
    """The options of a log request."""

    container: str = ""  # empty: the pod's only container
    previous: bool = False  # the log of the run before the current one
    follow: bool = False  # stream new output until the container ends
    tail_lines: int | None = None  # only this many lines from the end
    since: datetime | None = None  # only lines written at or after this time
    limit_bytes: int | None = None  # stop after this many bytes
    timestamps: bool = False  # prefix each line with its time


class LogSource(Protocol):
    """The source of container logs: the node."""

    def read(self, pod: Object, options: LogOptions) -> Iterator[bytes]:
        """Yield the log of a container; the pod is given with its status.

        While a followed log has no new output, this yields empty pieces, so that a reader can stop.

        Raises:
            ApiError: 400, the container has no log yet, or no earlier run.
        """
        ...


def read_log_options(request: Request, pod: str) -> LogOptions:
    """Return the options of a request for the log of the pod named `pod`.

    Raises:
        ApiError: 400 an option is malformed, 422 an option is invalid.
    """
    tail_lines, limit_bytes = request.number("tailLines"), request.number("limitBytes")
    since_seconds, since = request.number("sinceSeconds"), _read_time(request)
    causes = check_not_negative("tailLines", tail_lines)
    causes += _check_positive("limitBytes", limit_bytes)
    if since_seconds is not None and since is not None:
        causes.append(forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    else:
        causes += _check_positive("sinceSeconds", since_seconds)
    if "stream" in request.query:
        causes.append(forbidden("stream", "may not be specified"))
    if causes:
        raise invalid(_OPTIONS, pod, causes)
    if since_seconds is not None:
        since = datetime.now(UTC) - timedelta(seconds=since_seconds)
    return LogOptions(
        container=request.query.get("container", ""),
        previous=request.flag("previous"),
        follow=request.flag("follow"),
        tail_lines=tail_lines,
        since=since,
        limit_bytes=limit_bytes,
        timestamps=request.flag("timestamps"),
    )


def _read_time(request: Request) -> datetime | None:
    text = request.query.get("sinceTime")
    try:
        return parse_time(text) if text else None
    except ValueError:
        layout = "2006-01-02T15:04:05Z07:00"
        raise bad_request(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"') from None


def _check_positive(field: str, value: int | None) -> list[Cause]:
    return [invalid_value(field, value, "must be greater than 0")] if value is not None and value < 1 else []


def read_log(logs: LogSource, pod: Object, options: LogOptions) -> Response | Stream:
    """Respond to a request for a pod's log.

    Raises:
        ApiError: 400, the container does not exist, or as `LogSource.read`.
    """
    chosen = replace(options, container=_choose_container(pod, options.container))
    if not pod["spec"].get("nodeName"):
        return Response(204, b"")  # the pod has no node yet
    chunks = logs.read(pod, chosen)
    first = next(chunks, b"")  # raises errors before the response's head is sent
    closed = threading.Event()
    return Stream(_chain(first, chunks, closed), closed.set, content_type="text/plain")


def _choose_container(pod: Object, container: str) -> str:
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = [str(entry["name"]) for entry in spec["containers"]]
    initial = [str(entry["name"]) for entry in spec.get("initContainers") or ()]
    if container and container not in (*names, *initial):
        raise bad_request(f"container {container} is not valid for pod {name}")
    if not container and len(names) > 1:
        message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
        also = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        raise bad_request(message + also)
    return container or names[0]


def _chain(first: bytes, rest: Iterator[bytes], closed: threading.Event) -> Iterator[bytes]:
    """Yield all pieces until the stream is closed."""
    yield first
    for piece in rest:
        if closed.is_set():
            return
        yield piece
