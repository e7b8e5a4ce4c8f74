"""What both servers say of a history that they have forgotten: 410 Gone."""

import os
from collections.abc import Iterator

import pytest
from kubernetes.client import ApiClient, Configuration

from devcluster.cluster import Cluster
from tests.controlplane.plane import AUDIT_LOG_VARIABLE, ControlPlane
from tests.parity.conftest import COMPARES, Compare
from tests.parity.sides import Side, Talk
from tests.parity.steps import LEASES
from tests.support.servers import connect_to

pytestmark = [COMPARES, pytest.mark.xdist_group("history")]

NAMESPACE = "history"


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    """Two servers that no other test uses, and that can be made to forget."""
    if AUDIT_LOG_VARIABLE not in os.environ:
        pytest.skip("restarts an API server, and does that only to one that `make e2e` starts itself")
    with ControlPlane() as plane, Cluster() as cluster:
        plane.create_namespace(NAMESPACE)
        admin = connect_to(str(plane.admin_kubeconfig)).admin
        embedded = ApiClient(Configuration(host=cluster.url))
        yield (
            Side(admin, NAMESPACE, forget=plane.expire_history),
            Side(embedded, NAMESPACE, forget=cluster.store.compact),
        )


def test_forgotten_revisions_are_gone(compare: Compare) -> None:
    """Watches, pages and lists of the past: each is told to begin anew, in the same way."""

    def step(talk: Talk) -> None:
        for number in range(3):
            talk.request("POST", LEASES, {"metadata": {"name": f"$NAME-{number}"}})
        page = talk.request("GET", LEASES, query={"limit": 1}).body["metadata"]
        talk.request("DELETE", f"{LEASES}/$NAME-0")
        talk.side.forget()
        since = {"resourceVersion": page["resourceVersion"]}
        talk.watch(LEASES, {**since, "timeoutSeconds": 1})
        talk.request("GET", LEASES, query={"limit": 1, "continue": page["continue"]})
        talk.request("GET", LEASES, query={**since, "resourceVersionMatch": "Exact"})
        talk.request("GET", f"{LEASES}/$NAME-1")

    compare(step)
