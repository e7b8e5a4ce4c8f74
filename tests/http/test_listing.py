"""Callers that poll a queue share one list."""

import threading
from datetime import UTC, datetime
from pathlib import Path

from app.domain.names import new_id
from app.domain.run import Run
from app.kube.client import NamespacedClient
from app.kube.credentials import connect
from app.kube.manifests import build_job
from app.kube.parsing import read_run
from app.runs.listing import Listing, Queue
from schemas.definition import Definition
from schemas.merge import merge
from schemas.request import Request
from tests.support.faults import FaultProxy
from tests.support.servers import Server, write_kubeconfig

DEFINITION = Definition(name="wait", image="busybox:1", depends_on=("absent",))


def queue_run(namespace: NamespacedClient) -> Run:
    spec = merge(DEFINITION, Request())
    return read_run(namespace.create_job(build_job(spec, new_id(), queued_at=datetime.now(UTC), call="test")))


def test_listing__is_not_read_again_for_newer_runs_where_it_is_long(
    server: Server, namespace: str, tmp_path: Path
) -> None:
    """Whoever starts runs and reads them at once would otherwise have the API server list all the time."""
    now = [0.0]
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        own = NamespacedClient(connect(str(kubeconfig), namespace))
        listing = Listing(own, clock=lambda: now[0], short_list=2)

        def lists() -> int:
            return sum(request.method == "GET" and request.path.endswith("/jobs") for request in proxy.requests)

        runs = [queue_run(own) for _ in range(3)]
        assert listing.queue_with(runs[0]).position_of(runs[0]) == 1
        for _ in range(3):
            run = queue_run(own)
            assert listing.queue_with(run).position_of(run) == 4
        assert lists() == 1
        now[0] = 2.0
        assert listing.queue_with(run).position_of(run) == 6
        assert lists() == 2


def test_listing__serves_many_concurrent_callers_with_one_list(server: Server, namespace: str, tmp_path: Path) -> None:
    """A run that is newer than the list makes it read again."""
    now = [0.0]
    with FaultProxy(server.url, ca=server.ca_file) as proxy:
        kubeconfig = write_kubeconfig(tmp_path, server, namespace, url=proxy.url)
        own = NamespacedClient(connect(str(kubeconfig), namespace))
        listing = Listing(own, clock=lambda: now[0])
        first, second = queue_run(own), queue_run(own)

        def lists() -> int:
            return sum(request.method == "GET" and request.path.endswith("/jobs") for request in proxy.requests)

        found: list[Queue] = []
        threads = [
            threading.Thread(target=lambda run=run: found.append(listing.queue_with(run)))
            for run in [first, second] * 8
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        places = [
            (queue.position_of(first), queue.position_of(second), len(queue.keys), queue.admitted) for queue in found
        ]
        assert places == [(1, 2, 2, 0)] * 16
        assert lists() == 1
        third = queue_run(own)
        assert listing.queue_with(third).position_of(third) == 3
        assert lists() == 2
        now[0] = 2.0
        listing.queue_with(first)
        assert lists() == 3
