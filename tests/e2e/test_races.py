"""Kills, API server faults and network faults: no run is lost or doubled, and no limit is exceeded."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.callers import Callers, Replica, await_leader, check_runs, restart_leader
from tests.support.faults import Delay, Fault, FaultProxy, GoSilent, LoseRequest, LoseResponse, Refuse
from tests.support.observer import Observer
from tests.support.servers import Server
from tests.support.service import replicas
from tests.support.waiting import DEADLINE_SECONDS

SLOTS = {"one": 1, "two": 2, "three": 3, "single": 1, "triple": 3}
CALLED_IN_TURN = [name for name, slots in SLOTS.items() for _ in range(slots)]
RUNS = 200

DEFINITIONS = {
    name: {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": slots, "Args": ["true"]}
    for name, slots in SLOTS.items()
}

JOBS = r"/jobs$"


@pytest.mark.slow
def test_runs__survive_killed_leaders_lost_responses_and_conflicts(
    server: Server, seen: Observer, replica: Replica
) -> None:
    """200 runs of 5 definitions: each starts once, within its slots."""
    with FaultProxy(server.url, ca=server.ca_file) as proxy, ThreadPoolExecutor(8) as pool:
        services = [replica(DEFINITIONS, url=proxy.url) for _ in range(2)]
        with replicas(*services):
            callers = Callers(services, CALLED_IN_TURN)
            faults = [
                Fault(GoSilent(forward=True), method="PATCH", path=r"/jobs/", skip=20),
                Fault(GoSilent(), method="PATCH", path=r"/jobs/", skip=60),
                Fault(GoSilent(forward=True), method="POST", path=JOBS, skip=20, every=50, times=2),
                Fault(Refuse(409, "Conflict"), method="PATCH", every=2, times=None),
                Fault(LoseResponse(), method="POST", path=JOBS, every=11, times=None),
                Fault(LoseRequest(), method="POST", path=JOBS, every=13, times=None),
                Fault(Delay(before_seconds=0.3, after_seconds=0.3), method="POST", path=JOBS, every=19, times=None),
                Fault(LoseResponse(), method="PATCH", path=r"/jobs/", every=17, times=None),
            ]
            for fault in faults:
                proxy.add(fault)
            calls = [pool.submit(callers.start_run, number) for number in range(RUNS)]
            callers.wait_for(RUNS // 4)
            restart_leader(services)
            seen.wait(lambda: seen.has_started(RUNS // 2), seconds=5 * DEADLINE_SECONDS)
            restart_leader(services)
            for call in calls:
                call.result()
            accepted = set(callers.accepted)
            assert len(accepted) == RUNS
            check_runs(seen, accepted, SLOTS)
        assert all(proxy.hits(fault) for fault in faults)


@pytest.mark.slow
def test_runs__survive_cut_refused_and_silent_connections(server: Server, seen: Observer, replica: Replica) -> None:
    """Connections fail below TLS, at any byte; what a silent one held back arrives late."""
    with (
        FaultProxy(server.url, passthrough=True) as first,
        FaultProxy(server.url, passthrough=True) as second,
        ThreadPoolExecutor(8) as pool,
    ):
        proxies = [first, second]
        services = [replica(DEFINITIONS, url=proxy.url) for proxy in proxies]
        with replicas(*services):
            callers = Callers(services, CALLED_IN_TURN)
            calls = [pool.submit(callers.start_run, number) for number in range(60)]
            for count in (8, 16, 24):
                callers.wait_for(count)
                for proxy in proxies:
                    proxy.cut_all()
            isolated = await_leader(services)
            proxies[isolated].refuse_connections()
            proxies[isolated].cut_all()
            callers.wait(lambda: callers.refused[isolated] > 0)
            proxies[isolated].heal()
            for call in calls:
                call.result()

            silent = await_leader(services)
            refused_before = callers.refused[silent]
            proxies[silent].silence()
            calls = [pool.submit(callers.start_run, number) for number in range(20)]
            callers.wait(lambda: callers.refused[silent] > refused_before)
            proxies[silent].heal()
            for call in calls:
                call.result()
            check_runs(seen, set(callers.accepted), SLOTS)
    assert callers.unreachable == 0
