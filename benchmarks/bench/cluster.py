"""The environment of a scenario: an API server with namespaces and replicas of the service, and the sizes."""

import http.client
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
from tests.support.ports import find_free_port
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import DISPATCH, Program, ServiceProcess

BODY = json.dumps({"Args": ["42"]})
"""The body of every request."""

_SLOTS = 100_000
PUBLIC = {"Image": "axaguildev/fibonacci-batch:1.0.1", "Visibility": "Public", "BackoffLimit": 1}
"""Every definition has these fields."""

_RESOURCES = {"Requests": {"cpu": "4m", "memory": "1Mi"}, "Limits": {"cpu": "4m", "memory": "1Mi"}}

GATED = ("gated-a", "gated-b")
"""The definitions whose runs wait for the Deployment `gate`."""

CONFIGURATION: dict[str, Any] = {
    "Configurations": {
        # Always has a free slot, and its runs are deleted soon.
        "free": {**PUBLIC, "Resources": _RESOURCES, "NumberParallelJob": _SLOTS, "TtlSecondsAfterFinished": 2},
        # Its runs wait forever and so fill the queue.
        "crowd": {**PUBLIC, "Resources": _RESOURCES, "DependsOn": ["never-there"]},
        # Has one slot.
        "single": {**PUBLIC, "Resources": _RESOURCES, "NumberParallelJob": 1},
        # Its runs wait until a scenario makes their dependency ready; then each has a slot.
        **{
            name: {**PUBLIC, "Resources": _RESOURCES, "NumberParallelJob": _SLOTS, "DependsOn": ["gate"]}
            for name in GATED
        },
    }
}
"""The definitions of all scenarios."""

_DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Sizes:
    """The sizes of the scenarios.

    Attributes:
        rounds: the rounds in which direct creates and the service take turns.
        round_seconds: the duration of each turn.
        connections: the numbers of parallel connections.
        burst: the number of parallel connections, and of requests over them in all.
        queues: the rising queue lengths at which admissions are timed.
        admissions: the number of admissions timed at each queue length.
        load_seconds: the duration of the load under which memory is read.
        idle_seconds: the idle time in which calls to the API server are counted.
        runs: the number of runs whose calls are counted.
        repeats: the repetitions of single events: a start, a handover.
        drained: the number of rounds, and of queued runs, in which admissions per second are measured.
        neighbours: the number of runs timed beside a backlog, and the backlog's length.
        dependencies: the number of queued runs, each with a dependency of its own, beside which CPU time is measured.
        dependencies_seconds: the duration of that.
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
    drained: tuple[int, int]
    neighbours: tuple[int, int]
    dependencies: int
    dependencies_seconds: float


FULL = Sizes(
    rounds=4,
    round_seconds=3.0,
    connections=(1, 4, 16, 64, 128, 256),
    burst=(256, 2000),
    queues=(0, 1000, 10_000),
    admissions=300,
    load_seconds=20.0,
    idle_seconds=60.0,
    runs=50,
    repeats=5,
    drained=(2, 2000),
    neighbours=(20, 900),
    dependencies=50_000,
    dependencies_seconds=30.0,
)
QUICK = Sizes(
    rounds=2,
    round_seconds=2.0,
    connections=(1, 16, 64),
    burst=(64, 500),
    queues=(0, 1000),
    admissions=60,
    load_seconds=5.0,
    idle_seconds=15.0,
    runs=10,
    repeats=1,
    drained=(1, 400),
    neighbours=(6, 300),
    dependencies=5000,
    dependencies_seconds=5.0,
)
TINY = Sizes(
    rounds=1,
    round_seconds=0.2,
    connections=(2,),
    burst=(3, 10),
    queues=(0, 5),
    admissions=3,
    load_seconds=0.3,
    idle_seconds=1.0,
    runs=2,
    repeats=1,
    drained=(1, 5),
    neighbours=(1, 5),
    dependencies=20,
    dependencies_seconds=0.5,
)
"""Sizes for a test of the benchmarks."""


class BenchCluster:
    """An API server to measure on.

    Args:
        server: the API server.
        sizes: the sizes of the scenarios.
        folder: the folder for kubeconfigs and logs.
        audit_log: the API server's audit log; `None` if it is not available.
        programs: the PIDs of the control plane's programs by name; empty if they are not known.
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
        """Create a namespace with the service's ServiceAccount, and delete it at the end."""
        name = self.server.create_namespace()
        try:
            self._tokens[name] = self.server.token(name)
            yield name
        finally:
            self.empty(name)
            self.server.delete_namespace(name)

    def replica(
        self,
        namespace: str,
        *,
        prefix: tuple[str, ...] = (),
        url: str | None = None,
        definitions: dict[str, Any] | None = None,
        **environment: str,
    ) -> ServiceProcess:
        """Create a replica of the service without starting it.

        Args:
            namespace: the namespace that it works in.
            prefix: a command that executes the service's.
            url: a proxy's URL, to connect to instead of the API server.
            definitions: further ones.
            environment: further variables.
        """
        kubeconfig = write_kubeconfig(self._folder, self.server, namespace, url=url)
        log = self._folder / f"{kubeconfig.name}.log"
        configuration = {"Configurations": CONFIGURATION["Configurations"] | (definitions or {})}
        # The queues are bounded, as by default, but so high that no scenario reaches the bound.
        environment = {"SLIMFAAS_MAX_QUEUED": "1000000", **environment}
        return ServiceProcess(kubeconfig, configuration, log, prefix=prefix, **environment)

    def dispatcher(self, url: str) -> Program:
        """Create a stand-alone dispatcher without starting it; `url` is that of a server without TLS and accounts."""
        context = {"cluster": "bench", "user": "bench", "namespace": "bench"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {"server": url}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": context}],
            "current-context": "bench",
        }
        kubeconfig = self._folder / f"kubeconfig-{secrets.token_hex(4)}"
        kubeconfig.write_text(json.dumps(document))  # JSON is YAML
        log = self._folder / f"{kubeconfig.name}.log"
        return Program(DISPATCH, kubeconfig, CONFIGURATION, log, PORT=str(find_free_port()))

    def call_service(self, service: ServiceProcess, definition: str, **how: Any) -> Outcome:
        """Start runs through the service."""
        return call(Order(url=f"{service.url}/job/{definition}", body=BODY, **how))

    def call_directly(self, namespace: str, definition: str, **how: Any) -> Outcome:
        """Create the Jobs that the service would create, directly at the API server."""
        return self._call_api_server(namespace, body=job_text(definition), headers={}, **how)

    def patch_directly(self, namespace: str, targets: list[tuple[str, str]], **how: Any) -> Outcome:
        """Send merge patches to these paths, directly at the API server."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._call_api_server(namespace, body="", headers=headers, method="PATCH", targets=targets, **how)

    def _call_api_server(self, namespace: str, *, headers: dict[str, str], **how: Any) -> Outcome:
        token = self._tokens[namespace]
        return call(
            Order(
                url=f"{self.server.url}/apis/batch/v1/namespaces/{namespace}/jobs",
                headers={**headers, **({"Authorization": f"Bearer {token}"} if token else {})},
                ca_file=str(self.server.ca_file) if self.server.ca_file else None,
                **how,
            )
        )

    def fill(self, namespace: str, count: int, definitions: Sequence[str] = ("crowd",)) -> None:
        """Queue `count` runs of each definition, and wait until the Job controller has seen them all."""
        if count <= 0:
            return
        for definition in definitions:
            done = self.call_directly(namespace, definition, connections=16, seconds=_DEADLINE_SECONDS, most=count)
            assert len(done.latencies_seconds) == count, done.others
        batch: Any = client.BatchV1Api(self.server.admin)

        def settled() -> bool:
            listed: bytes = batch.list_namespaced_job(namespace, _preload_content=False).data
            return listed.count(b'"type":"Suspended"') >= listed.count(b'"suspend":true')

        wait_until(settled, "the Job controller to see the queue", pause_seconds=1.0)

    def empty(self, namespace: str) -> None:
        """Delete every Job and pod, and wait until they are gone, so that they do not disturb the next scenario."""
        batch: Any = client.BatchV1Api(self.server.admin)
        core: Any = client.CoreV1Api(self.server.admin)

        def gone() -> bool:
            batch.delete_collection_namespaced_job(
                namespace, propagation_policy="Background", limit=2000, _preload_content=False
            ).read()
            core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0, _preload_content=False).read()
            lists = (batch.list_namespaced_job, core.list_namespaced_pod)
            left = [json.loads(each(namespace, limit=1, _preload_content=False).data)["items"] for each in lists]
            return not any(left)

        wait_until(gone, f"the Jobs and pods of {namespace} to go", pause_seconds=0.2)


def job_text(definition: str) -> str:
    """Return the Job that the service stores for `BODY`, as JSON with `ID` for the run's id."""
    request, faults = read_request(BODY.encode())
    spec = merge(parse_configuration(json.dumps(CONFIGURATION))[definition], request, faults)
    job = build_job(spec, ID, queued_at=datetime.now(UTC), call=secrets.token_hex(16))
    return json.dumps(job)


def wait_until(condition: Callable[[], bool], what: str, *, pause_seconds: float = 0.02) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_DEADLINE_SECONDS:.0f} s for {what}")
        time.sleep(pause_seconds)


def wait_leading(service: ServiceProcess) -> None:
    """Wait until a replica's dispatcher leads."""
    wait_until(lambda: service.get("/ready").json()["Dispatcher"] == "leading", "a replica to lead")


class Caller:
    """Starts runs one after the other over one connection."""

    def __init__(self, service: ServiceProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)

    def start(self, definition: str) -> tuple[str, float]:
        """Start a run; return its Job's name, and when the 202 arrived (monotonic seconds)."""
        self._connection.request("POST", f"/job/{definition}", BODY)
        response = self._connection.getresponse()
        text = response.read()
        arrived = time.monotonic()
        assert response.status == 202, text
        name: str = json.loads(text)["Name"]
        return name, arrived

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def folder() -> Iterator[Path]:
    """Create a temporary folder for kubeconfigs and logs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as path:
        yield Path(path)
