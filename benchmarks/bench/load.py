"""Callers: a process of its own whose threads POST over one kept connection each, and which counts its own CPU time.

`python -m benchmarks.bench.load` reads an `Order` as JSON from its standard input, and writes its `Outcome`.
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
"""Stands in a body for what every call has anew; as long as a run's id."""


@dataclass(frozen=True)
class Order:
    """What to call, and for how long.

    Attributes:
        url: of the POST.
        body: with `ID` wherever each call needs its own.
        connections: how many call at the same time, each the next as soon as it has the answer to the last.
        seconds: after which no call begins.
        most: calls altogether; `None`: as many as there is time for.
        headers: of every call.
        ca_file: of an https address.
    """

    url: str
    body: str
    connections: int
    seconds: float
    most: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ca_file: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        latencies_seconds: of the calls that were answered with 201 or 202.
        others: other answers' status, or the exception's name, -> how often.
        wall_seconds: from the first call's begin to the last one's end.
        cpu_seconds: that the callers themselves took in that time.
    """

    latencies_seconds: list[float]
    others: dict[str, int]
    wall_seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Accepted calls."""
        return len(self.latencies_seconds) / self.wall_seconds


def call(order: Order) -> Outcome:
    """Have a process of its own carry it out.

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
        raise RuntimeError(f"the callers failed:\n{done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout))


class _Callers:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._address = urlsplit(order.url)
        self._tls = ssl.create_default_context(cafile=order.ca_file) if self._address.scheme == "https" else None
        self._lock = threading.Lock()
        self._begun = 0
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

    def _may_begin(self) -> bool:
        with self._lock:
            self._begun += 1
            return (self._order.most is None or self._begun <= self._order.most) and time.monotonic() < self._end

    def _call_on(self) -> None:
        connection: http.client.HTTPConnection | None = None
        latencies, others = list[float](), Counter[str]()
        headers = {"Content-Type": "application/json", **self._order.headers}
        while self._may_begin():
            body = self._order.body.replace(ID, secrets.token_hex(6)).encode()
            began = time.monotonic()
            try:
                connection = connection or self._connect()
                connection.request("POST", self._address.path, body, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                others[type(error).__name__] += 1
                if connection is not None:
                    connection.close()
                connection = None
                continue
            if answer.status in (201, 202):
                latencies.append(time.monotonic() - began)
            else:
                others[str(answer.status)] += 1
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
    """Carry out one order."""
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
