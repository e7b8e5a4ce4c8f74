"""Requests that need dropped history: 410 Gone from both servers."""

import os
from collections.abc import Iterator

import pytest
from kubernetes.client import ApiClient, Configuration

from devcluster.cluster import Cluster
from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane
from tests.parity.conftest import COMPARES, Compare
from tests.parity.sides import Session, Side
from tests.parity.steps import LEASES
from tests.support.servers import connect_to

pytestmark = [COMPARES, pytest.mark.xdist_group("history")]

NAMESPACE = "history"


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    """Return two servers that no other test uses, and whose history can be dropped."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("restarts the API server, which is only allowed if `make e2e` started it")
    with ControlPlane() as plane, Cluster() as cluster:
        plane.create_namespace(NAMESPACE)
        admin = connect_to(str(plane.admin_kubeconfig)).admin
        embedded = ApiClient(Configuration(host=cluster.url))
        yield (
            Side(admin, NAMESPACE, forget=plane.expire_history),
            Side(embedded, NAMESPACE, forget=cluster.store.compact),
        )


def test_dropped_revisions__are_gone_for_watches_pages_and_lists(compare: Compare) -> None:
    """Both servers tell the client to list again."""

    def step(session: Session) -> None:
        for number in range(3):
            session.request("POST", LEASES, {"metadata": {"name": f"$NAME-{number}"}})
        page = session.request("GET", LEASES, query={"limit": 1}).body["metadata"]
        session.request("DELETE", f"{LEASES}/$NAME-0")
        session.side.forget()
        since = {"resourceVersion": page["resourceVersion"]}
        session.watch(LEASES, {**since, "timeoutSeconds": 1})
        session.request("GET", LEASES, query={"limit": 1, "continue": page["continue"]})
        session.request("GET", LEASES, query={**since, "resourceVersionMatch": "Exact"})
        session.request("GET", f"{LEASES}/$NAME-1")

    compare(step)
