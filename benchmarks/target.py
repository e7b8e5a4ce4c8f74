"""The API server of a benchmark, and the Jobs in it."""

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
from app.kube.api_server import ApiServer
from app.kube.authentication import Credential, FixedCredential
from app.kube.client import NamespacedClient
from app.kube.errors import AlreadyExistsError, NotFoundError
from app.kube.manifests import build_job
from app.kube.tls import TlsMaterial
from app.kube.transport import ApiTransport
from schemas.definition import Variable
from schemas.merge import RunSpec
from schemas.security import SecurityContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faults import FaultProxy

WRITERS = 16
"""The number of connections that fill a namespace."""

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
    queue_timeout_seconds=None,
    restart_policy="Never",
    visibility="Private",
    service_account_name=None,
    security_context=SecurityContext(),
)
"""A run like the README's example."""


def read_configuration(kubeconfig: str) -> Configuration:
    """Read the client configuration of an API server on this machine.

    Raises:
        SystemExit: the API server is not on this machine, and so may be in use.
    """
    configuration = Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call] # the client has no annotations here
        config_file=kubeconfig, client_configuration=configuration
    )
    host = urlsplit(configuration.host).hostname or ""
    if host != "localhost" and not (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        raise SystemExit(
            f"{host} is not this machine: benchmarks create thousands of Jobs, so they run on local API servers only"
        )
    return configuration


def open_namespace(configuration: Configuration, namespace: str) -> NamespacedClient:
    """Return a client for a namespace, with the service's own transport."""
    ca = configuration.ssl_ca_cert
    credential = Credential(
        configuration.api_key.get("BearerToken"), TlsMaterial(authority=Path(ca).read_bytes() if ca else None)
    )
    server = ApiServer(configuration.host, verify=configuration.verify_ssl)
    return NamespacedClient(ApiTransport(server, namespace, source=FixedCredential(credential)))


@contextmanager
def open_proxy(configuration: Configuration) -> "Iterator[tuple[FaultProxy, Configuration]]":
    """Start a fault proxy in front of the API server; yield it and its client configuration.

    The proxy terminates TLS, so client certificates do not work: the configuration needs a token.
    """
    from tests.support.faults import FaultProxy  # here, because memory benchmarks must not import what they do not use

    ca = Path(configuration.ssl_ca_cert) if configuration.ssl_ca_cert else None
    with FaultProxy(configuration.host, ca=ca) as proxy:
        proxied = copy(configuration)
        proxied.host = proxy.url
        proxied.refresh_api_key_hook = None  # it would also restore the API server's own URL
        yield proxy, proxied


def build_sample(run_id: str) -> Json:
    """Return a suspended Job as the service creates it."""
    return build_job(SPEC, run_id, queued_at=datetime.now(UTC), call=run_id)


def create_namespaces(configuration: Configuration, names: list[str]) -> None:
    """Create the namespaces that do not exist."""
    for name in names:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        # The embedded cluster has every namespace and no API to create one.
        with suppress(AlreadyExistsError, NotFoundError):
            open_namespace(configuration, name).transport.call("POST", "/api/v1/namespaces", body=body)


def delete_namespaces(configuration: Configuration, names: list[str]) -> None:
    """Delete the namespaces, without waiting until they are empty."""
    for name in names:
        namespace = open_namespace(configuration, name)
        try:
            namespace.transport.call("DELETE", f"/api/v1/namespaces/{name}")
        except NotFoundError:  # the embedded cluster: only the content can be deleted
            namespace.transport.call("DELETE", namespace.runs.path, body={"propagationPolicy": "Background"})


def fill(namespace: NamespacedClient, jobs: int, *, timeout_seconds: float = 90.0) -> None:
    """Create suspended Jobs, and wait until the Job controller has written their status."""
    with ThreadPoolExecutor(WRITERS) as writers:
        for stored in writers.map(lambda _: namespace.create_job(build_sample(new_id())), range(jobs)):
            assert stored["spec"]["suspend"]

    def settled() -> bool:
        return all((job.get("status") or {}).get("conditions") for job in namespace.objects(namespace.runs))

    if wait_until(settled, timeout_seconds, pause_seconds=1.0) is None:
        raise TimeoutError(f"the Job controller has not seen all {jobs} Jobs after {timeout_seconds} s")


def wait_until(condition: Callable[[], bool], timeout_seconds: float, *, pause_seconds: float = 0.01) -> float | None:
    """Wait for a condition; return the seconds it took, or `None` after the timeout."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_seconds:
            return None
        time.sleep(pause_seconds)
    return time.monotonic() - began


def report(**figures: object) -> None:
    """Print figures as JSON for the parent process."""
    print(json.dumps(figures), flush=True)


def main() -> None:
    """Create, fill or delete namespaces."""
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
