"""The API server that a benchmark is pointed at, and the Jobs that it is filled with."""

import argparse
import ipaddress
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kubernetes import config
from kubernetes.client import Configuration

from app.common.types import Json
from app.domain.names import new_id
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, NotFoundError
from app.kube.manifests import build_job
from app.kube.transport import ApiTransport
from schemas.definition import Variable
from schemas.merge import RunSpec
from schemas.security import SecurityContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faults import FaultProxy

WRITERS = 16
"""Connections that fill a namespace."""

SPEC = RunSpec(
    definition="fibonacci",
    image="axaguildev/fibonacci-batch:1.0.1",
    command=None,
    args=("42",),
    literal_args=True,
    requests={"cpu": "400m", "memory": "100Mi"},
    limits={"cpu": "400m", "memory": "100Mi"},
    depends_on=("fibonacci1",),
    environments=(Variable("MODE", "batch"), Variable("REGION", "west", literal=True)),
    backoff_limit=1,
    ttl_seconds_after_finished=60,
    timeout_seconds=None,
    pending_timeout_seconds=None,
    restart_policy="Never",
    visibility="Private",
    service_account_name=None,
    security_context=SecurityContext(),
)
"""A run like the README's example."""


def read_configuration(kubeconfig: str) -> Configuration:
    """Read how to reach the API server.

    Raises:
        SystemExit: it isn't on this machine, and so may be somebody's cluster.
    """
    configuration = Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call] # the client has no annotations here
        config_file=kubeconfig, client_configuration=configuration
    )
    host = urlsplit(configuration.host).hostname or ""
    if host != "localhost" and not (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        raise SystemExit(f"{host} is not this machine: a benchmark fills a namespace with thousands of Jobs")
    return configuration


def open_namespace(configuration: Configuration, namespace: str) -> NamespacedClient:
    """One namespace, through the service's own transport."""
    return NamespacedClient(ApiTransport(copy(configuration), namespace))


@contextmanager
def open_proxy(configuration: Configuration) -> "Iterator[tuple[FaultProxy, Configuration]]":
    """A fault proxy in front of the API server, and how to reach that; needs a token, for TLS ends at the proxy."""
    from tests.support.faults import FaultProxy  # here: the probes of memory must not pay for what they don't use

    ca = Path(configuration.ssl_ca_cert) if configuration.ssl_ca_cert else None
    with FaultProxy(configuration.host, ca=ca) as proxy:
        proxied = copy(configuration)
        proxied.host = proxy.url
        proxied.refresh_api_key_hook = None  # it would also put back the API server's own address
        yield proxy, proxied


def build_sample(run_id: str) -> Json:
    """A suspended Job as the service makes it."""
    return build_job(SPEC, run_id, queued_at=datetime.now(UTC), call=run_id)


def create_namespaces(configuration: Configuration, names: list[str]) -> None:
    """Make sure that the namespaces exist."""
    for name in names:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        # A server for tests may have every namespace without being asked.
        with suppress(AlreadyExistsError, NotFoundError):
            open_namespace(configuration, name).transport.call("POST", "/api/v1/namespaces", body=body)


def delete_namespaces(configuration: Configuration, names: list[str]) -> None:
    """Remove the namespaces; the server goes on by itself with what is in them."""
    for name in names:
        namespace = open_namespace(configuration, name)
        try:
            namespace.transport.call("DELETE", f"/api/v1/namespaces/{name}")
        except NotFoundError:  # a server for tests that has every namespace: there is but what is in it
            namespace.transport.call("DELETE", namespace.runs.path, body={"propagationPolicy": "Background"})


def fill(namespace: NamespacedClient, jobs: int, *, timeout_seconds: float = 90.0) -> None:
    """Create suspended Jobs, and wait until the Job controller has written their status, too."""
    with ThreadPoolExecutor(WRITERS) as writers:
        for stored in writers.map(lambda _: namespace.create_job(build_sample(new_id())), range(jobs)):
            assert stored["spec"]["suspend"]

    def settled() -> bool:
        return all((job.get("status") or {}).get("conditions") for job in namespace.objects(namespace.runs))

    if wait_until(settled, timeout_seconds, pause_seconds=1.0) is None:
        raise TimeoutError(f"the Job controller has not seen all {jobs} Jobs after {timeout_seconds} s")


def wait_until(condition: Callable[[], bool], timeout_seconds: float, *, pause_seconds: float = 0.01) -> float | None:
    """Wait for a condition; how many seconds it took, `None` when it did not come true in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_seconds:
            return None
        time.sleep(pause_seconds)
    return time.monotonic() - began


def report(**figures: object) -> None:
    """Hand figures to the process that asked for them."""
    print(json.dumps(figures), flush=True)


def main() -> None:
    """Make, fill or remove namespaces."""
    parser = argparse.ArgumentParser(description="The namespaces of a benchmark.")
    parser.add_argument("what", choices=["create", "fill", "delete"])
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("namespaces", nargs="+")
    given = parser.parse_args()
    configuration = read_configuration(given.kubeconfig)
    match given.what:
        case "create":
            create_namespaces(configuration, given.namespaces)
        case "fill":
            for name in given.namespaces:
                fill(open_namespace(configuration, name), given.jobs)
        case _:
            delete_namespaces(configuration, given.namespaces)
    report()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
