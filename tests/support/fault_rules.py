"""Faults between a client and an API server, as data: actions, and rules for the requests they apply to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

import h11

from tests.support.waiting import DEADLINE_SECONDS


@dataclass(frozen=True)
class Request:
    """One request that reached the proxy, and its state.

    Attributes:
        path: Without the query, percent-encoded as sent.
        query: The raw query string, without the question mark.
        body: The whole body; empty when there was none.
        started: `time.monotonic()` when the request had been read.
        finished: `time.monotonic()` when the exchange was over, successful or not; None before.
        status: The response's status, from the server or from a fault, even if the response was discarded; None
            when there was no response.
        forwarded: True once the API server has been sent the whole request.
        fault: The fault that was injected; None when there was none.
    """

    method: str
    path: str
    query: str
    body: bytes
    started: float
    finished: float | None = None
    status: int | None = None
    forwarded: bool = False
    fault: Fault | None = None

    @property
    def watching(self) -> bool:
        """Whether the request opens a watch."""
        return parse_qs(self.query).get("watch", [""])[0].lower() in {"1", "true"}


@dataclass(frozen=True)
class LoseRequest:
    """Drop the connection before anything is forwarded: the API server never receives the request."""


@dataclass(frozen=True)
class LoseResponse:
    """Forward the request, wait for the whole response, then drop the connection instead of passing it on.

    The write is stored, but the client sees an error.
    """


@dataclass(frozen=True)
class Truncate:
    """Forward the request and drop the connection after the first bytes of the response's body."""

    body_bytes: int


@dataclass(frozen=True)
class Delay:
    """Wait before the request is forwarded, or before its response is passed on."""

    before_seconds: float = 0.0
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Trickle:
    """Forward the request and pass its response on byte by byte, so that no single read of the client takes long.

    Attributes:
        pause_seconds: Between two bytes.
        head: Whether the head trickles, too; otherwise only the body.
    """

    pause_seconds: float
    head: bool = True


@dataclass(frozen=True)
class Refuse:
    """Respond with a `metav1.Status` in place of the API server, which never receives the request.

    Attributes:
        reason: A `metav1.StatusReason`: `Conflict`, `Expired`, `TooManyRequests`, `InternalError` …
            (https://kubernetes.io/docs/reference/kubernetes-api/definitions/status-v1-meta/)
        retry_after_seconds: The `Retry-After` header, and `details.retryAfterSeconds`.
        date: The `Date` header; `None` for no such header.
    """

    status: int
    reason: str
    message: str = "refused by a test"
    retry_after_seconds: int | None = None
    date: str | None = None

    def response(self) -> list[h11.Event]:
        """Return the parts of the whole response."""
        status: dict[str, object] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.status,
        }
        headers = [("Content-Type", "application/json")]
        if self.date is not None:
            headers.append(("Date", self.date))
        if self.retry_after_seconds is not None:
            status["details"] = {"retryAfterSeconds": self.retry_after_seconds}
            headers.append(("Retry-After", str(self.retry_after_seconds)))
        body = json.dumps(status).encode()
        headers.append(("Content-Length", str(len(body))))
        return [
            h11.Response(status_code=self.status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]


@dataclass(frozen=True)
class GoSilent:
    """Leave the connection open and pass nothing more on, in either direction: a half-open connection.

    `FaultProxy.heal` ends the silence and delivers what was held back.

    Attributes:
        forward: Whether the API server still gets this request, and only the response is held back.
    """

    forward: bool = False


class Hold:
    """Hold requests back until they are released: a write that lands long after its client timed out.

    A held request is forwarded on release even when its client, or `FaultProxy.cut_all`, closed the
    connection in the meantime. One hold may hold back any number of requests.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._released = False
        self._abandoned = False

    def release(self) -> None:
        """Forward all held requests, and let later ones pass."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_held(self, count: int = 1, timeout_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until `count` requests are held at the same time.

        Raises:
            TimeoutError: fewer requests were held before the timeout.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._held >= count, timeout_seconds):
                raise TimeoutError(f"{self._held} of {count} requests held after {timeout_seconds} s")

    def wait_released(self) -> bool:
        """Block the calling thread until release; return False when the request must be discarded instead."""
        with self._changed:
            self._held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released or self._abandoned)
            self._held -= 1
            return self._released

    def abandon(self) -> None:
        """Discard all held requests, because the proxy is closing."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


@dataclass(frozen=True)
class Call:
    """Forward the request, and call a function when its response has arrived, before it is passed on."""

    act: Callable[[], object]


Action = LoseRequest | LoseResponse | Truncate | Delay | Trickle | Refuse | GoSilent | Hold | Call


@dataclass(frozen=True)
class Fault:
    """An action, and the requests that it applies to.

    A request gets the first fault, in the order of `FaultProxy.add`, that matches it and is not used up.

    Attributes:
        method: `PATCH`, or several as `POST|PATCH`; empty for any.
        path: A regular expression searched for in the path without the query; empty for any.
        when: A further condition.
        skip: How many matching requests pass unharmed first.
        every: Apply the fault to every n-th matching request after those: 2 means the first, third, fifth …
        times: How often the fault is applied; None for no limit.
    """

    action: Action
    method: str = ""
    path: str = ""
    when: Callable[[Request], bool] = lambda request: True
    skip: int = 0
    every: int = 1
    times: int | None = 1

    def matches(self, request: Request) -> bool:
        """Return whether method, path and condition match the request, regardless of the counters."""
        return (
            (not self.method or request.method in self.method.split("|"))
            and re.search(self.path, request.path) is not None
            and self.when(request)
        )


class Rule:
    """A fault and its counters; not thread-safe."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.matched = 0
        self.applied = 0

    def count(self, request: Request) -> bool:
        """Count the request, and return whether the fault applies to it."""
        fault = self.fault
        if self.applied == fault.times or not fault.matches(request):
            return False
        position = self.matched - fault.skip
        self.matched += 1
        if position < 0 or position % fault.every:
            return False
        self.applied += 1
        return True
