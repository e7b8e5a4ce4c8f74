"""Callers of the service: whoever gets no 202 tries again, at another replica; and what all of them are owed."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import requests

from tests.support.observer import Observer
from tests.support.service import ServiceProcess
from tests.support.waiting import DEADLINE_SECONDS

_TRIES = 400

Replica = Callable[..., ServiceProcess]
"""Makes a replica of the service, see the fixture `replica`."""


class Authorizer:
    """Start runs. Safe to use from several threads.

    Attributes:
        accepted: names of the runs that were answered with 202.
        refused: how often each replica answered with 503.
        unreachable: how many calls reached no replica.
        longest_seconds: what the slowest answer took.
    """

    def __init__(self, services: Sequence[ServiceProcess], definitions: Sequence[str]) -> None:
        """Takes whom to call, and what for, in turn: one that is named twice is called twice as often."""
        self._services = services
        self._definitions = definitions
        self._changed = threading.Condition()
        self.accepted: list[str] = []
        self.refused = [0] * len(services)
        self.unreachable = 0
        self.longest_seconds = 0.0

    def start_run(self, number: int) -> None:
        """Call until a replica answers with 202."""
        definition = self._definitions[number % len(self._definitions)]
        places = itertools.cycle(range(len(self._services)))
        for place in itertools.islice(places, number, number + _TRIES):
            began = time.monotonic()
            try:
                answer = self._services[place].post(f"/job/{definition}")
            except requests.ConnectionError:
                with self._changed:
                    self.unreachable += 1
                continue
            with self._changed:
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["Name"])
                else:
                    assert answer.status_code == 503, answer.text
                    assert int(answer.headers["Retry-After"]) > 0
                    self.refused[place] += 1
                self._changed.notify_all()
            if answer.status_code == 202:
                return
        raise AssertionError("no replica accepts a run")

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition over what was heard holds."""
        with self._changed:
            assert self._changed.wait_for(condition, 5 * DEADLINE_SECONDS)

    def wait_for(self, count: int) -> None:
        """Wait until so many runs are accepted."""
        self.wait(lambda: len(self.accepted) >= count)


def check_runs(seen: Observer, accepted: set[str], slots: Mapping[str, int]) -> None:
    """Wait for the end of all accepted runs; each was started once, and never were there more than slots."""
    seen.wait(lambda: seen.finished >= accepted, seconds=5 * DEADLINE_SECONDS)
    assert {name: seen.starts.get(name) for name in accepted} == dict.fromkeys(accepted, 1)
    assert max(seen.starts.values()) == 1  # also those that were stored though nobody was told so
    assert {name: most for name, most in seen.most_active.items() if most > slots[name]} == {}
    assert set(seen.most_active) == set(slots)
