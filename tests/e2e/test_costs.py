"""The number of calls that the service makes to the API server, with every limit switched on."""

from collections import Counter

import pytest

from tests.e2e.callers import Replica
from tests.integration.dispatching import until
from tests.support.faults import FaultProxy, Request
from tests.support.observer import Observer
from tests.support.servers import Server
from tests.support.service import replicas
from tests.support.waiting import DEADLINE_SECONDS

RUNS = 30
LIMITS = {"Visibility": "Public", "MaxQueued": 1000, "TimeoutSeconds": 3600, "PendingTimeoutSeconds": 3600}
DEFINITIONS = {
    "quick": {"Image": "busybox:1", "Args": ["true"], "NumberParallelJob": 2, **LIMITS},
    "waiting": {"Image": "busybox:1", "DependsOn": ["nobody"], **LIMITS},
    "stuck": {"Image": "missing.invalid/app:1", **LIMITS},
}


def is_lease_call(request: Request) -> bool:
    return "/leases" in request.path


@pytest.mark.slow
def test_run__costs_three_writes_at_most_and_an_idle_service_only_renews_its_lease(
    server: Server, namespace: str, replica: Replica
) -> None:
    """Two replicas with runs that finish, runs that wait, and runs that hold their slot without starting."""
    with FaultProxy(server.url, ca=server.ca_file) as proxy, Observer(server.admin, namespace) as seen:
        services = [replica(DEFINITIONS, url=proxy.url) for _ in range(2)]
        with replicas(*services):
            names = []
            for number in range(RUNS):
                for definition in ("quick", *(("waiting", "stuck") if number < 3 else ())):
                    response = services[number % 2].post(f"/job/{definition}")
                    assert response.status_code == 202, response.text
                    names.append(response.json()["Name"])
            quick = {name for name in names if name.startswith("quick-")}
            # Two at a time, and Kubernetes takes two seconds or more for each.
            seen.wait(lambda: seen.finished >= quick, seconds=120)

            # 1. The writes of each run, once the waiting runs have their Event.
            def count_events() -> int:
                return sum(request.method == "POST" and "/events" in request.path for request in proxy.requests)

            until(lambda: count_events() >= 5)
            proxy.wait_for(
                is_lease_call, count=sum(map(is_lease_call, proxy.requests)) + 5, timeout_seconds=DEADLINE_SECONDS
            )
            writes = [request for request in proxy.requests if request.method in ("POST", "PUT", "PATCH", "DELETE")]
            costs = Counter(
                name
                for request in writes
                if not is_lease_call(request) and (request.status or 0) < 300
                for name in names
                if name in request.path or name.encode() in request.body
            )
            assert costs.keys() == set(names)
            assert max(costs.values()) <= 3

            # 2. The calls of an idle service.
            before = len(proxy.requests)
            renewals = sum(request.method == "PUT" for request in proxy.requests)
            proxy.wait_for(
                lambda request: request.method == "PUT", count=renewals + 4, timeout_seconds=DEADLINE_SECONDS
            )
            idle = [request for request in proxy.requests[before:] if not is_lease_call(request)]
            assert all(request.watching for request in idle), idle
