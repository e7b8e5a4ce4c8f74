"""A load generator: a process whose threads send requests over one persistent connection each.

It measures its own CPU time. `python -m benchmarks.bench.load` reads an `Order` as JSON from standard input, and writes
an `Outcome`.
"""

import dataclasses
import http.client
import json
import secrets
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).resolve().parents[2]
_CALL_SECONDS = 30.0

ID = "xxidxxxxidxx"
"""A placeholder in the body that is replaced by a new id in every request; as long as a run's id."""


@dataclass(frozen=True)
class Order:
    """What to send, and for how long.

    Attributes:
        url: the URL of the requests.
        body: the body, with `ID` for each request's own id.
        connections: the number of connections; each sends its next request after the response to the last one.
        seconds: the time after which no request begins.
        most: the highest number of requests; `None` for no limit.
        headers: the headers of every request.
        ca_file: the CA certificates for an https URL.
        method: of the requests.
        targets: a path and a body for each request instead of those of `url` and `body`; as many requests are made.
    """

    url: str
    body: str
    connections: int
    seconds: float
    most: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    method: str = "POST"
    targets: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of an order.

    Attributes:
        latencies_seconds: the latencies of the requests with a 200, 201 or 202 response.
        others: the number of other responses by status, and of errors by the exception's name.
        wall_seconds: from the start of the first request to the end of the last one.
        cpu_seconds: the load generator's own CPU time.
    """

    latencies_seconds: list[float]
    others: dict[str, int]
    wall_seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """The accepted requests per second."""
        return len(self.latencies_seconds) / self.wall_seconds


def call(order: Order) -> Outcome:
    """Execute an order in a new process.

    Raises:
        RuntimeError: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench.load"],
        cwd=_ROOT,
        input=json.dumps(dataclasses.asdict(order)),
        capture_output=True,
        text=True,
        check=False,
        timeout=order.seconds + 2 * _CALL_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed:\n{done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout))


class _Callers:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._address = urlsplit(order.url)
        self._tls = ssl.create_default_context(cafile=order.ca_file) if self._address.scheme == "https" else None
        self._lock = threading.Lock()
        self._begun = 0
        self._most = len(order.targets) if order.targets is not None else order.most
        self._end = 0.0
        self.latencies_seconds: list[float] = []
        self.others: Counter[str] = Counter()

    def run(self) -> None:
        threads = [threading.Thread(target=self._call_on) for _ in range(self._order.connections)]
        self._end = time.monotonic() + self._order.seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _begin(self) -> tuple[str, bytes] | None:
        """Return the path and the body of the next request; `None`: there is none."""
        with self._lock:
            number, self._begun = self._begun, self._begun + 1
        if (self._most is not None and number >= self._most) or time.monotonic() >= self._end:
            return None
        if self._order.targets is not None:
            path, body = self._order.targets[number]
            return path, body.encode()
        return self._address.path, self._order.body.replace(ID, secrets.token_hex(6)).encode()

    def _call_on(self) -> None:
        connection: http.client.HTTPConnection | None = None
        latencies, others = list[float](), Counter[str]()
        headers = {"Content-Type": "application/json", **self._order.headers}
        while (request := self._begin()) is not None:
            path, body = request
            began = time.monotonic()
            try:
                connection = connection or self._connect()
                connection.request(self._order.method, path, body, headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                others[type(error).__name__] += 1
                if connection is not None:
                    connection.close()
                connection = None
                continue
            if response.status in (200, 201, 202):
                latencies.append(time.monotonic() - began)
            else:
                others[str(response.status)] += 1
        if connection is not None:
            connection.close()
        with self._lock:
            self.latencies_seconds += latencies
            self.others += others

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=_CALL_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=_CALL_SECONDS)


def main() -> None:
    """Execute the order from standard input."""
    order = Order(**json.load(sys.stdin))
    callers = _Callers(order)
    began, cpu = time.monotonic(), time.process_time()
    callers.run()
    outcome = Outcome(
        callers.latencies_seconds, dict(callers.others), time.monotonic() - began, time.process_time() - cpu
    )
    json.dump(dataclasses.asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
