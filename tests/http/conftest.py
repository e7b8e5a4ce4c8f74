"""The application behind Flask's test client or under gunicorn, with its API server behind a proxy that can fail."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from app.factory import create_app
from app.settings import Settings
from tests.http.clients import DEFINITIONS, Caller, MakeCaller
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig
from tests.support.service import ServiceProcess


@pytest.fixture(scope="session")
def session_namespace(server: Server) -> Iterator[str]:
    """Return a namespace that is shared by tests that look only at responses."""
    name = server.create_namespace()
    yield name
    server.delete_namespace(name)


@pytest.fixture
def batch(server: Server) -> client.BatchV1Api:
    """Return the Jobs API with an administrator's rights."""
    return client.BatchV1Api(server.admin)


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    """Run a proxy between the application and the API server."""
    with FaultProxy(server.url, ca=server.ca_file) as running:
        yield running


@pytest.fixture
def caller(server: Server, namespace: str, tmp_path: Path) -> Caller:
    """Send requests to the application, whose dispatcher does not run."""
    return _caller(write_kubeconfig(tmp_path, server, namespace), public_listing=True)


@pytest.fixture
def make_caller(server: Server, namespace: str, tmp_path: Path) -> MakeCaller:
    """Return a function that builds the application with further settings."""
    return partial(_caller, write_kubeconfig(tmp_path, server, namespace))


@pytest.fixture
def caller_by_proxy(server: Server, namespace: str, tmp_path: Path, proxy: FaultProxy) -> Caller:
    """Send requests to the application, whose API server is behind the proxy."""
    return _caller(write_kubeconfig(tmp_path, server, namespace, url=proxy.url), public_listing=True)


def _caller(kubeconfig: Path, **options: Any) -> Caller:
    settings = Settings(configuration=json.dumps(DEFINITIONS), kubeconfig=str(kubeconfig), **options)
    return Caller(create_app(settings).test_client())


@pytest.fixture(scope="session")
def live(server: Server, session_namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run the service under gunicorn, shared by the tests that send raw bytes."""
    folder = tmp_path_factory.mktemp("live")
    kubeconfig = write_kubeconfig(folder, server, session_namespace)
    with ServiceProcess(kubeconfig, DEFINITIONS, folder / "log") as running:
        yield running
        assert "Traceback" not in (folder / "log").read_text("utf-8")
