"""Replicas of the service in the test's own namespace, and Kueue beside them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane.build import BuildUnavailable
from tests.controlplane.kueue.process import Kueue
from tests.controlplane.plane import AUDIT_LOG_VARIABLE
from tests.e2e.callers import Replica
from tests.e2e.kueue import Queues
from tests.integration.dispatching import ClusterFixture
from tests.support.faults import FaultProxy
from tests.support.observer import Observer
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess


@pytest.fixture
def replica(server: Server, namespace: str, tmp_path: Path) -> Replica:
    """Create replicas of the service without starting them; `url` is that of a proxy in front of the API server."""

    def make(
        configuration: dict[str, Any],
        *,
        schedules: dict[str, Any] | None = None,
        url: str | None = None,
        **environment: str,
    ) -> ServiceProcess:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=url)
        log = tmp_path / f"{kubeconfig.name}.log"
        return ServiceProcess(kubeconfig, {"Configurations": configuration, "Schedules": schedules}, log, **environment)

    return make


@pytest.fixture(scope="module")
def kueue(server: Server) -> Iterator[Kueue]:
    """Run Kueue for the tests of one module, which have the marks `WITH_KUEUE`."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("the API server of a given cluster cannot call webhooks of this machine")
    try:
        running = Kueue(server, Path(os.environ["KUBECONFIG"]))
    except BuildUnavailable as error:
        pytest.skip(f"no Kueue: {error}")
    with running:
        yield running


@pytest.fixture
def queues(server: Server, namespace: str, kueue: Kueue) -> Queues:
    """Let Kueue manage the test's namespace."""
    kueue.manage(namespace)
    return Queues(server, namespace)


@pytest.fixture
def cluster(server: Server, namespace: str, tmp_path: Path) -> Iterator[ClusterFixture]:
    """Provide a namespace, and a proxy in front of the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        yield ClusterFixture(server, namespace, tmp_path, proxy)


@pytest.fixture
def seen(server: Server, namespace: str) -> Iterator[Observer]:
    """Provide an independent observer."""
    with Observer(server.admin, namespace) as observer:
        yield observer
