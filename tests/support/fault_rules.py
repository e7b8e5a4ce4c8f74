"""What can go wrong between a client and an API server, as data: actions, and the requests that meet them."""

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
    """One request that reached the proxy, as far as it has got.

    Attributes:
        path: Without the query, percent-encoded as it was sent.
        query: The raw query string, without its question mark.
        body: The whole body; empty when there was none.
        started: `time.monotonic()` when the request had been read.
        finished: `time.monotonic()` when the exchange was over, however it ended; None before.
        status: Of the answer, by whoever gave it, also if it was thrown away; None when there was none.
        forwarded: True once the API server has been sent the whole request.
        fault: The fault that it met.
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
        """True when the request asks for a watch, whose answer has no end of its own."""
        return parse_qs(self.query).get("watch", [""])[0].lower() in {"1", "true"}


@dataclass(frozen=True)
class LoseRequest:
    """Drops the connection before anything is forwarded: the API server never hears of the request."""


@dataclass(frozen=True)
class LoseAnswer:
    """Forwards the request, waits for the whole answer, and drops the connection in its place.

    This is the write that was stored though its caller saw an error.
    """


@dataclass(frozen=True)
class Truncate:
    """Forwards the request and drops the connection after the first bytes of the answer's body."""

    body_bytes: int


@dataclass(frozen=True)
class Delay:
    """Waits, before the request is forwarded or before its answer is passed on."""

    before_seconds: float = 0.0
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Trickle:
    """Forwards the request and passes its answer on byte by byte, so that the client never waits long for the next one.

    Attributes:
        pause_seconds: Between two bytes.
        head: Whether the head trickles, too; else the body alone.
    """

    pause_seconds: float
    head: bool = True


@dataclass(frozen=True)
class Refuse:
    """Answers with a `metav1.Status` in the API server's place, which never hears of the request.

    Attributes:
        reason: A `metav1.StatusReason`: `Conflict`, `Expired`, `TooManyRequests`, `InternalError` …
            (https://kubernetes.io/docs/reference/kubernetes-api/definitions/status-v1-meta/)
        retry_after_seconds: The `Retry-After` header, and `details.retryAfterSeconds`.
        date: The `Date` header; `None`: there is none.
    """

    status: int
    reason: str
    message: str = "refused by a test"
    retry_after_seconds: int | None = None
    date: str | None = None

    def answer(self) -> list[h11.Event]:
        """The whole answer, in its parts."""
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
    """Leaves the connection open and passes nothing on any more, in either direction: a half-open connection.

    `FaultProxy.heal` lets it speak again, what was kept back included.

    Attributes:
        forward: Whether the API server still gets this request, and only the answer is kept back.
    """

    forward: bool = False


class Hold:
    """Keeps requests back until they are released: the write that lands when its caller has long given up.

    A held request is forwarded on release even when its client, or `FaultProxy.cut_all`, closed the
    connection in the meantime. One hold may keep back any number of requests.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._released = False
        self._abandoned = False

    def release(self) -> None:
        """Lets all that is held go on, and all that comes pass."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_held(self, count: int = 1, timeout_seconds: float = DEADLINE_SECONDS) -> None:
        """Returns once `count` requests are held at the same time.

        Raises:
            TimeoutError: when they aren't in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._held >= count, timeout_seconds):
                raise TimeoutError(f"{self._held} of {count} requests held after {timeout_seconds} s")

    def keep(self) -> bool:
        """Blocks the calling thread until release; False when the request must be forgotten instead."""
        with self._changed:
            self._held += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released or self._abandoned)
            self._held -= 1
            return self._released

    def abandon(self) -> None:
        """Forgets all that is held: the proxy is closing."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


Action = LoseRequest | LoseAnswer | Truncate | Delay | Trickle | Refuse | GoSilent | Hold


@dataclass(frozen=True)
class Fault:
    """An action, and which requests meet it.

    A request meets the first fault, in the order of `FaultProxy.add`, that matches it and isn't used up.

    Attributes:
        method: `PATCH`, or several as `POST|PATCH`; empty for any.
        path: A regular expression searched for in the path without the query; empty for any.
        when: What else must hold.
        skip: How many matching requests pass first.
        every: Of those after that, each how many-th meets the fault: 2 is the first, the third, the fifth …
        times: How often the fault strikes; None for until it is removed.
    """

    action: Action
    method: str = ""
    path: str = ""
    when: Callable[[Request], bool] = lambda request: True
    skip: int = 0
    every: int = 1
    times: int | None = 1

    def matches(self, request: Request) -> bool:
        """Tells whether the request is one of those meant, the counters aside."""
        return (
            (not self.method or request.method in self.method.split("|"))
            and re.search(self.path, request.path) is not None
            and self.when(request)
        )


class Rule:
    """A fault with its counters; not thread-safe."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.matched = 0
        self.struck = 0

    def strikes(self, request: Request) -> bool:
        """Counts the request, and tells whether it meets the fault."""
        fault = self.fault
        if self.struck == fault.times or not fault.matches(request):
            return False
        place = self.matched - fault.skip
        self.matched += 1
        if place < 0 or place % fault.every:
            return False
        self.struck += 1
        return True
