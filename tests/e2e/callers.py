"""Callers that retry at another replica until they get a 202, and a check of the runs they started."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import requests

from tests.support.observer import Observer
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

_ATTEMPTS = 400

Replica = Callable[..., ServiceProcess]
"""Creates a replica of the service; see the fixture `replica`."""


class Callers:
    """Starts runs; thread-safe.

    Args:
        services: the replicas to call.
        definitions: the definitions to run, in turn; one that is listed twice is called twice as often.

    Attributes:
        accepted: the names of the runs that got a 202 response.
        refused: the number of 503 responses by replica.
        unreachable: the number of calls that reached no replica.
        longest_seconds: the time of the slowest response.
    """

    def __init__(self, services: Sequence[ServiceProcess], definitions: Sequence[str]) -> None:
        self._services = services
        self._definitions = definitions
        self._changed = threading.Condition()
        self.accepted: list[str] = []
        self.refused = [0] * len(services)
        self.unreachable = 0
        self.longest_seconds = 0.0

    def start_run(self, number: int) -> None:
        """Call the replicas in turn until one responds with 202."""
        definition = self._definitions[number % len(self._definitions)]
        indexes = itertools.cycle(range(len(self._services)))
        for index in itertools.islice(indexes, number, number + _ATTEMPTS):
            began = time.monotonic()
            try:
                response = self._services[index].post(f"/job/{definition}")
            except requests.ConnectionError:
                with self._changed:
                    self.unreachable += 1
                continue
            with self._changed:
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                if response.status_code == 202:
                    self.accepted.append(response.json()["Name"])
                else:
                    assert response.status_code == 503, response.text
                    assert int(response.headers["Retry-After"]) > 0
                    self.refused[index] += 1
                self._changed.notify_all()
            if response.status_code == 202:
                return
        raise AssertionError("no replica accepts a run")

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition over the attributes holds."""
        with self._changed:
            assert self._changed.wait_for(condition, 5 * DEADLINE_SECONDS)

    def wait_for(self, count: int) -> None:
        """Wait until `count` runs are accepted."""
        self.wait(lambda: len(self.accepted) >= count)


def check_runs(seen: Observer, accepted: set[str], slots: Mapping[str, int]) -> None:
    """Wait until all accepted runs have finished, and check that each started once and that no slots were exceeded."""
    seen.wait(lambda: seen.finished >= accepted, seconds=5 * DEADLINE_SECONDS)
    assert {name: seen.starts.get(name) for name in accepted} == dict.fromkeys(accepted, 1)
    assert max(seen.starts.values()) == 1  # including runs that were stored without a 202 response
    assert {name: most for name, most in seen.most_active.items() if most > slots[name]} == {}
    assert set(seen.most_active) == set(slots)


def await_leader(services: Sequence[ServiceProcess]) -> int:
    """Wait for a leader, and return the index of its replica."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        for index, service in enumerate(services):
            if service.get("/ready").json()["Dispatcher"] == "leading":
                return index
        assert time.monotonic() < deadline, "no replica leads"
        time.sleep(0.05)


def restart_leader(services: Sequence[ServiceProcess]) -> None:
    """Kill the leader's replica, and start it again."""
    killed = services[await_leader(services)]
    killed.kill()
    killed.start()
