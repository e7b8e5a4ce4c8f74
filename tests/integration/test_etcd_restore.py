"""Etcd is restored to an older state under a running dispatcher, which keeps its promises and needs no restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster, Options
from devcluster.store import Store
from tests.integration.apis import OF_THE_EMBEDDED_CLUSTER
from tests.integration.dispatching import ClusterFixture, until
from tests.support.faults import FaultProxy
from tests.support.observer import Observer
from tests.support.servers import Server, serve

pytestmark = OF_THE_EMBEDDED_CLUSTER

DEPENDENCY = "db"


class Gate:
    """A file for which runs wait.

    Attributes:
        waits: the arguments of a run that ends when the file is there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.waits = ("sh", "-c", f"until [ -e {file} ]; do sleep 0.05; done")

    def open(self) -> None:
        """Let the runs end."""
        self._file.touch()

    def close(self) -> None:
        """Let later runs wait."""
        self._file.unlink()


class RestorableCluster:
    """An embedded cluster of one test, whose state can be put back. A context manager.

    Attributes:
        server: its API server, which keeps its address.
        proxy: how the dispatcher reaches it.
    """

    def __init__(self) -> None:
        self._cluster = Cluster(Options(back_off_seconds=0.02))
        self.server: Server = serve(self._cluster)
        self.proxy = FaultProxy(self.server.url)

    def __enter__(self) -> "RestorableCluster":
        self._cluster.__enter__()
        self.proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__(None, None, None)
        self._cluster.stop()

    def snapshot(self) -> Store:
        """Return a copy of the present state."""
        return self._cluster.store.copy()

    def restore(self, snapshot: Store) -> None:
        """Stop the control plane and the node, put a state back, and start them again.

        Every connection is cut. Nobody reaches the API server through the proxy before `reconnect`.
        """
        self.proxy.refuse_connections()
        self.proxy.cut_all()
        port = int(self._cluster.url.rpartition(":")[2])
        self._cluster.stop()
        self._cluster = Cluster(Options(back_off_seconds=0.02, port=port), snapshot)
        self._cluster.start()

    def reconnect(self) -> None:
        """Let the dispatcher reach the API server again."""
        self.proxy.heal()


@pytest.fixture
def restorable() -> Iterator[RestorableCluster]:
    """Provide a cluster that no other test uses."""
    with RestorableCluster() as running:
        yield running


@pytest.fixture
def cluster(restorable: RestorableCluster, tmp_path: Path) -> ClusterFixture:
    """Provide a namespace of that cluster."""
    return ClusterFixture(restorable.server, restorable.server.create_namespace(), tmp_path, restorable.proxy)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Provide a closed gate."""
    return Gate(tmp_path / "open")


def wait_for_renewal(cluster: ClusterFixture) -> None:
    """Wait until the Lease has been written again: a restore then takes back a write of it (ADR 5, "Not covered")."""
    version = cluster.lease.version()
    until(lambda: cluster.lease.version() != version)


def test_restore__runs_that_are_queued_again_wait_for_their_dependency_and_are_admitted_once(
    restorable: RestorableCluster, cluster: ClusterFixture, gate: Gate
) -> None:
    """Two were admitted after the snapshot. The versions of all of them, the Lease and the dependency go back."""
    cluster.deploy(DEPENDENCY, replicas=0)
    with cluster.dispatching({"fib": 2}):
        names = cluster.queue(count=4, depends_on=(DEPENDENCY,), args=gate.waits)
        until(lambda: all(cluster.reasons(name) for name in names))  # the dispatcher has seen them
        snapshot = restorable.snapshot()
        wait_for_renewal(cluster)
        cluster.scale(DEPENDENCY, replicas=1)
        with Observer(cluster.server.admin, cluster.namespace) as seen:
            seen.wait(lambda: seen.has_started(2))

        restorable.restore(snapshot)
        with Observer(cluster.server.admin, cluster.namespace) as seen:
            assert not seen.starts
            restorable.reconnect()
            other = cluster.queue()[0]
            seen.wait(lambda: other in seen.finished)  # runs are admitted again
            assert seen.starts == {other: 1}, "the dependency is not ready any more"
            cluster.scale(DEPENDENCY, replicas=1)
            gate.open()
            seen.wait(lambda: seen.finished >= {*names})
        assert seen.starts == dict.fromkeys([other, *names], 1)
        assert seen.most_active["fib"] == 2


@pytest.mark.slow
def test_restore__run_that_is_active_again_holds_its_slot(
    restorable: RestorableCluster, cluster: ClusterFixture, gate: Gate
) -> None:
    """It had ended after the snapshot, and its slot had been given to the next one."""
    with cluster.dispatching({"fib": 1, "other": 1}):
        first, second = cluster.queue(count=2, args=gate.waits)
        until(lambda: not cluster.job(first).spec.suspend and cluster.is_settled())
        snapshot = restorable.snapshot()
        wait_for_renewal(cluster)
        gate.open()
        with Observer(cluster.server.admin, cluster.namespace) as seen:
            seen.wait(lambda: seen.finished >= {first, second})

        gate.close()
        restorable.restore(snapshot)
        with Observer(cluster.server.admin, cluster.namespace) as seen:
            assert seen.starts == {first: 1}
            restorable.reconnect()
            other = cluster.queue("other")[0]
            seen.wait(lambda: other in seen.finished)  # runs are admitted again
            assert seen.starts == {first: 1, other: 1}
            gate.open()
            seen.wait(lambda: seen.finished >= {first, second})
        assert seen.starts == {first: 1, other: 1, second: 1}
        assert seen.most_active["fib"] == 1
