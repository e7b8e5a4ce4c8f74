"""What every scenario is given: an API server, namespaces and replicas of the service on it, and how much to do."""

import http.client
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client

from app.kube.manifests import build_job
from benchmarks.bench.load import ID, Order, Outcome, call
from schemas.configuration import parse_configuration
from schemas.merge import merge
from schemas.request import read_request
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess

BODY = json.dumps({"Args": ["42"]})
"""Of every call."""

_SLOTS = 100_000
_PUBLIC = {"Image": "axaguildev/fibonacci-batch:1.0.1", "Visibility": "Public", "BackoffLimit": 1}
_RESOURCES = {"Requests": {"cpu": "4m", "memory": "1Mi"}, "Limits": {"cpu": "4m", "memory": "1Mi"}}

CONFIGURATION: dict[str, Any] = {
    "Configurations": {
        # Has always a slot free, and leaves nothing behind.
        "free": {**_PUBLIC, "Resources": _RESOURCES, "NumberParallelJob": _SLOTS, "TtlSecondsAfterFinished": 2},
        # Waits for ever: this is how a queue is filled.
        "crowd": {**_PUBLIC, "Resources": _RESOURCES, "DependsOn": ["never-there"]},
    }
}
"""The definitions of all scenarios."""

_DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        rounds: in which direct calls and the service's take turns.
        round_seconds: how long each of them calls in one round.
        connections: at the same time.
        burst: connections at the same time, and calls over them altogether.
        queues: how many are queued while admissions are timed, rising.
        admissions: timed at each length of the queue.
        load_seconds: under load while memory is read.
        idle_seconds: without a call while the API server's are counted.
        runs: whose calls are counted.
        repeats: of what happens but once: a start, a hand-over.
    """

    rounds: int
    round_seconds: float
    connections: tuple[int, ...]
    burst: tuple[int, int]
    queues: tuple[int, ...]
    admissions: int
    load_seconds: float
    idle_seconds: float
    runs: int
    repeats: int


FULL = Sizes(5, 3.0, (1, 4, 16, 64, 128), (256, 2000), (0, 1000, 10_000), 300, 20.0, 60.0, 50, 5)
QUICK = Sizes(2, 2.0, (1, 16), (64, 500), (0, 1000), 60, 5.0, 15.0, 10, 1)
TINY = Sizes(1, 0.2, (2,), (3, 10), (0, 5), 3, 0.3, 1.0, 2, 1)
"""So that a test can go through all of it."""


class Stage:
    """One API server to measure on.

    Args:
        server: it.
        sizes: how much to do.
        folder: for kubeconfigs and logs.
        audit_log: the API server's; `None`: it isn't at hand.
        programs: the control plane's, name -> process; empty: they aren't at hand.
    """

    def __init__(
        self, server: Server, sizes: Sizes, folder: Path, *, audit_log: Path | None, programs: dict[str, int]
    ) -> None:
        self.server = server
        self.sizes = sizes
        self.audit_log = audit_log
        self.programs = programs
        self._folder = folder
        self._tokens: dict[str, str | None] = {}

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace with the service's account."""
        name = self.server.create_namespace()
        try:
            self._tokens[name] = self.server.token(name)
            yield name
        finally:
            self.empty(name)
            self.server.delete_namespace(name)

    def replica(self, namespace: str, *, prefix: tuple[str, ...] = (), **environment: str) -> ServiceProcess:
        """One replica of the service, not started; `prefix`: what starts its command."""
        kubeconfig = write_kubeconfig(self._folder, self.server, namespace)
        log = self._folder / f"{kubeconfig.name}.log"

        return ServiceProcess(kubeconfig, CONFIGURATION, log, prefix=prefix, **environment)

    def call_service(self, service: ServiceProcess, definition: str, **how: Any) -> Outcome:
        """Have callers start runs through the service."""
        return call(Order(url=f"{service.url}/job/{definition}", body=BODY, **how))

    def call_directly(self, namespace: str, definition: str, **how: Any) -> Outcome:
        """Have callers create the Jobs that the service would, at the API server itself."""
        token = self._tokens[namespace]
        return call(
            Order(
                url=f"{self.server.url}/apis/batch/v1/namespaces/{namespace}/jobs",
                body=job_text(definition),
                headers={"Authorization": f"Bearer {token}"} if token else {},
                ca_file=str(self.server.ca_file) if self.server.ca_file else None,
                **how,
            )
        )

    def fill(self, namespace: str, count: int) -> None:
        """Queue so many runs that wait for ever, and wait until the Job controller has seen them all."""
        if count <= 0:
            return
        done = self.call_directly(namespace, "crowd", connections=16, seconds=_DEADLINE_SECONDS, most=count)
        assert len(done.latencies_seconds) == count, done.others
        batch: Any = client.BatchV1Api(self.server.admin)

        def settled() -> bool:
            listed: bytes = batch.list_namespaced_job(namespace, _preload_content=False).data
            return listed.count(b'"type":"Suspended"') >= listed.count(b'"suspend":true')

        wait_until(settled, "the Job controller to see the queue", pause_seconds=1.0)

    def empty(self, namespace: str) -> None:
        """Remove every Job, and wait until they are gone: nothing of one scenario is work during the next."""
        batch: Any = client.BatchV1Api(self.server.admin)

        def gone() -> bool:
            batch.delete_collection_namespaced_job(
                namespace, propagation_policy="Background", limit=2000, _preload_content=False
            ).read()
            left = batch.list_namespaced_job(namespace, limit=1, _preload_content=False).data
            return not json.loads(left)["items"]

        wait_until(gone, f"the Jobs of {namespace} to go", pause_seconds=0.2)


def job_text(definition: str) -> str:
    """The Job that the service stores for `BODY`, as JSON with `ID` for the run's id."""
    request, faults = read_request(BODY.encode())
    spec = merge(parse_configuration(json.dumps(CONFIGURATION))[definition], request, faults)
    job = build_job(spec, ID, queued_at=datetime.now(UTC), call=secrets.token_hex(16))
    return json.dumps(job)


def wait_until(condition: Callable[[], bool], what: str, *, pause_seconds: float = 0.02) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it doesn't come true in time.
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_DEADLINE_SECONDS:.0f} s for {what}")
        time.sleep(pause_seconds)


def wait_leading(service: ServiceProcess) -> None:
    """Wait until a replica is the dispatcher."""
    wait_until(lambda: service.get("/ready").json()["Dispatcher"] == "leading", "a replica to lead")


class Caller:
    """Starts one run after the other, over one connection; knows when each was accepted."""

    def __init__(self, service: ServiceProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)

    def start(self, definition: str) -> tuple[str, float]:
        """Start a run; the name of its Job, and when the 202 had arrived (monotonic seconds)."""
        self._connection.request("POST", f"/job/{definition}", BODY)
        answer = self._connection.getresponse()
        text = answer.read()
        arrived = time.monotonic()
        assert answer.status == 202, text
        name: str = json.loads(text)["Name"]
        return name, arrived

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for kubeconfigs and logs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as path:
        yield Path(path)
