"""Which requests get a thread, when there are more requests than threads.

gunicorn gives every request a thread of its pool, in the order of arrival. A burst of requests would hold all of them,
and the kubelet's probes would wait behind it until Kubernetes restarts a healthy process. So requests that have arrived
(app/server/request_intake.py) are sorted into lanes by their first bytes. Each lane has threads that no other lane can
take, and requests wait in their lane for one, first come, first served. A request that waits holds no thread: only its
connection, and what it has sent.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from app.common.concurrency_limiter import MAX_CALLS, MAX_READS

READ_AHEAD_BYTES = 4096
"""The most that is read of a request before it has a thread; one that starts a run is usually smaller."""

MAX_READ_AHEAD_BYTES = 256 * 1024
"""The most that is held of all requests without a thread. Further ones stay in the kernel's buffers, and each costs one
more system call, which is slower than holding what they sent."""

PROBE_THREADS = 6
METRICS_THREADS = 2
"""Apart from the probes': a scrape is longer than the kernel's buffers, so its client decides how long it takes."""
START_THREADS = MAX_CALLS + 8
"""More than call the API server at the same time: some requests are being read or answered."""
READ_THREADS = 2 * MAX_READS
SHORT_REQUEST_THREADS = PROBE_THREADS + METRICS_THREADS + START_THREADS + READ_THREADS

_MONITORING = re.compile(rb"(?:GET|HEAD) /(?:health|ready|(?P<metrics>metrics))[ ?]")
_BODY = re.compile(rb"\n(?:content-length|transfer-encoding|expect)[ \t]*:", re.IGNORECASE)


class Kind(Enum):
    """What a request is, as far as its first bytes tell."""

    PROBE = "probe"
    METRICS = "metrics"
    START = "start"
    READ = "read"


def kind_of(sent: bytes) -> Kind:
    """Tell a request's kind by the first bytes that its client has sent.

    Only a complete request without a body counts as a probe or a scrape: nobody can hold their threads by sending
    slowly.
    """
    if (found := _MONITORING.match(sent)) and sent.endswith(b"\r\n\r\n") and not _BODY.search(sent):
        return Kind.METRICS if found["metrics"] else Kind.PROBE
    return Kind.START if sent.startswith(b"POST ") else Kind.READ


_SHARED = (Kind.START, Kind.READ)
"""The kinds that share the threads of requests that last."""

T = TypeVar("T")


@dataclass(slots=True)
class _Lane(Generic[T]):
    threads: int
    used: int = 0
    waiting: deque[T] = field(default_factory=deque)


class RequestLanes(Generic[T]):
    """Decides which request gets a thread next. For one thread: the server's loop.

    Requests that last (waits and logs) begin in the lane of starts or reads, and nobody knows at first which they are:
    both lanes may take their threads, too, but not those of the other lane.

    Args:
        long_requests: how many requests that last there may be at the same time.
    """

    def __init__(self, long_requests: int) -> None:
        self._lanes: dict[Kind, _Lane[T]] = {
            Kind.PROBE: _Lane(PROBE_THREADS),
            Kind.METRICS: _Lane(METRICS_THREADS),
            Kind.START: _Lane(START_THREADS + long_requests),
            Kind.READ: _Lane(READ_THREADS + long_requests),
        }
        self._shared_threads = START_THREADS + READ_THREADS + long_requests

    def add(self, kind: Kind, request: T) -> None:
        """Let a request wait for a thread; `next` may return it at once."""
        self._lanes[kind].waiting.append(request)

    def next(self) -> tuple[Kind, T] | None:
        """Return a request that gets a thread now; `None`: none waits, or it is not its turn."""
        for kind, lane in self._lanes.items():
            full = kind in _SHARED and self._shared_used >= self._shared_threads
            if lane.waiting and lane.used < lane.threads and not full:
                lane.used += 1
                return kind, lane.waiting.popleft()
        return None

    def release(self, kind: Kind) -> None:
        """Take back the thread of a request that `next` has returned."""
        self._lanes[kind].used -= 1

    @property
    def _shared_used(self) -> int:
        return sum(self._lanes[kind].used for kind in _SHARED)
