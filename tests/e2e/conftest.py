"""Replicas of the service in the test's own namespace."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.callers import Replica
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
