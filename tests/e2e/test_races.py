"""Two replicas, a misbehaving API server, and kills in the middle: nothing lost, nothing doubled, no cap exceeded."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.fault_rules import Fault, LoseAnswer, LoseRequest, Refuse
from tests.faults import FaultProxy
from tests.observer import Observer
from tests.servers import Server
from tests.service import ServiceProcess, replicas

Replica = Callable[..., ServiceProcess]

SLOTS = {"one": 1, "two": 2, "three": 3, "single": 1, "triple": 3}
RUNS = 200
KILLS_AFTER = (50, 130)
DEADLINE_SECONDS = 150.0

DEFINITIONS = {
    name: {"Image": "busybox:1", "Visibility": "Public", "NumberParallelJob": slots, "Args": ["true"]}
    for name, slots in SLOTS.items()
}


def dispatching(services: list[ServiceProcess]) -> ServiceProcess:
    """The replica that leads; any, where none says so at the moment."""
    for service in services:
        if service.running and service.get("/ready").json()["Dispatcher"] == "leading":
            return service
    return services[0]


class Callers:
    """Start runs from several threads, as callers do: whoever gets no 202 tries again, at another replica."""

    def __init__(self, services: list[ServiceProcess]) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._enough = threading.Condition(self._lock)
        self.accepted: list[str] = []

    def start_run(self, number: int) -> None:
        """Call until one replica answers with 202."""
        definition = list(SLOTS)[number % len(SLOTS)]
        for attempt in range(200):
            service = self._services[(number + attempt) % len(self._services)]
            try:
                answer = service.post(f"/job/{definition}")
            except requests.ConnectionError:
                continue
            if answer.status_code == 202:
                with self._lock:
                    self.accepted.append(answer.json()["Name"])
                    self._enough.notify_all()
                return
            assert answer.status_code == 503, answer.text
        raise AssertionError("no replica accepts a run")

    def wait_for(self, count: int) -> None:
        """Wait until so many runs are accepted."""
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.accepted) >= count, DEADLINE_SECONDS)


def test_two_hundred_runs_survive_kills_lost_answers_and_conflicts(
    server: Server, namespace: str, replica: Replica
) -> None:
    """200 runs over 5 definitions, two kills of the leader, a faulty API server: each starts once, within its slots."""
    with (
        FaultProxy(server.url, ca=server.ca_file) as proxy,
        Observer(server.admin, namespace) as seen,
        ThreadPoolExecutor(8) as pool,
    ):
        services = [replica(DEFINITIONS, url=proxy.url) for _ in range(2)]
        with replicas(*services):
            callers = Callers(services)
            proxy.add(Fault(Refuse(409, "Conflict"), method="PATCH", every=2, times=None))
            proxy.add(Fault(LoseAnswer(), method="POST", path=r"/jobs$", every=11, times=None))
            proxy.add(Fault(LoseRequest(), method="POST", path=r"/jobs$", every=13, times=None))
            proxy.add(Fault(LoseAnswer(), method="PATCH", path=r"/jobs/", every=17, times=None))
            calls = [pool.submit(callers.start_run, number) for number in range(RUNS)]
            for count in KILLS_AFTER:
                callers.wait_for(count)
                killed = dispatching(services)
                killed.kill()
                killed.start()
            for call in calls:
                call.result()
            accepted = set(callers.accepted)
            assert len(accepted) == RUNS
            seen.wait(lambda: seen.finished >= accepted, seconds=DEADLINE_SECONDS)
    assert {name: seen.starts.get(name) for name in accepted} == dict.fromkeys(accepted, 1)
    assert max(seen.starts.values()) == 1
    assert {name: most for name, most in seen.most_active.items() if most > SLOTS[name]} == {}
    assert set(seen.most_active) == set(SLOTS)
