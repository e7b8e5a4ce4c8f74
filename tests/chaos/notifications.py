"""Have many ends of runs told to receivers that fail, hang and restart, while leaders are killed, and count.

`python -m tests.chaos.notifications` exits with 1 if an end was not told, or too early, or if too many were told twice.
The seed decides what receivers answer. When it happens depends on the machine.
"""

import argparse
import json
import random
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.dispatcher.deliveries import WORKERS
from app.kube import labels
from tests.integration.dispatching import ClusterFixture, DispatcherProcess
from tests.support.faults import FaultProxy
from tests.support.proxies import keep_loopback_direct
from tests.support.receivers import Received, Receiver, Reply
from tests.support.servers import embedded_server
from tests.support.waiting import until

_SLOTS = 8
_ALL_SECONDS = 1200.0
"""The longest that a run of the suite takes on a slow machine."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens.

    Attributes:
        ends: runs that end, half of them for each of two receivers.
        kills: how often the leader is killed.
        closings: how often one of the receivers stops for a moment.
    """

    ends: int
    kills: int
    closings: int


FULL = Size(ends=1000, kills=10, closings=6)
SHORT = Size(ends=40, kills=2, closings=1)

_REPLIES = {
    Reply(204): 80,
    Reply(500): 8,
    Reply(400): 4,
    Reply(302): 2,
    Reply(429): 2,
    Reply(hangs=True): 1,
}
"""What the receiver that is not well answers, and how often."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted.

    Attributes:
        ends: runs that have ended.
        untold: the names of those that no receiver has accepted.
        early: the names of those that were sent before their Job had ended.
        repeated: how many were accepted more than once.
        unmarked: the names of those that do not say so in the end, or have no TTL.
        requests: how many there were.
        kills: how often the leader was killed.
    """

    ends: int
    untold: list[str]
    early: list[str]
    repeated: int
    unmarked: list[str]
    requests: int
    kills: int

    def failures(self) -> list[str]:
        """Return what must not be. A leader that is killed has at most one delivery per worker to be repeated."""
        failures = [
            f"{what}: {', '.join(names[:5])}"
            for what, names in (("untold", self.untold), ("early", self.early), ("unmarked", self.unmarked))
            if names
        ]
        if self.repeated > self.kills * WORKERS:
            failures.append(f"{self.repeated} ends were accepted more than once")
        return failures


class _Ledger:
    """What receivers have been sent."""

    def __init__(self, cluster: ClusterFixture, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.accepted: Counter[str] = Counter()
        self.early: list[str] = []

    def answer_well(self, received: Received) -> Reply:
        """Accept a request."""
        self._check(received)
        with self._lock:
            self.accepted[_name_in(received)] += 1
        return Reply()

    def answer_somehow(self, received: Received) -> Reply:
        """Accept most requests."""
        with self._lock:
            (reply,) = self._random.choices(list(_REPLIES), list(_REPLIES.values()))
        if reply.status == 204 and not reply.hangs:
            return self.answer_well(received)
        self._check(received)
        return reply

    def _check(self, received: Received) -> None:
        """Note a run that is told although its Job, as it is right now, has not ended."""
        name = _name_in(received)
        conditions = self._cluster.job(name).status.conditions or []
        if not any(one.type in ("Complete", "Failed") and one.status == "True" for one in conditions):
            with self._lock:
                self.early.append(name)

    def told(self) -> int:
        """Return how many ends have been accepted."""
        with self._lock:
            return len(self.accepted)


def _name_in(received: Received) -> str:
    event = json.loads(received.body)
    name = str(event["data"]["Name"])
    assert event["id"] == received.event_id
    return name


def play(cluster: ClusterFixture, seed: int, size: Size) -> Report:
    """Do all of it in a namespace; return what was counted."""
    ledger = _Ledger(cluster, seed)
    with ExitStack() as stack:
        unwell, well = Receiver(ledger.answer_somehow), Receiver(ledger.answer_well)
        for receiver in (unwell, well):
            stack.enter_context(receiver)
        receivers = {"unwell": unwell.url, "well": well.url}
        kubeconfig = cluster.kubeconfig()
        slots = dict.fromkeys(receivers, _SLOTS)
        processes: dict[str, DispatcherProcess] = {}

        def launch() -> None:
            instance = f"number-{len(started)}"
            started.append(instance)
            process = DispatcherProcess(kubeconfig, cluster.namespace, slots, receivers=receivers, instance=instance)
            processes[instance] = stack.enter_context(process)

        started: list[str] = []
        for _ in range(2):
            launch()
        names = [
            name
            for definition in receivers
            for name in cluster.queue(definition, count=size.ends // 2, notifies=True, ttl_seconds=3600)
        ]
        moments = [(number * size.ends // (size.kills + 1), "kill") for number in range(1, size.kills + 1)]
        moments += [(number * size.ends // (size.closings + 1), "close") for number in range(1, size.closings + 1)]
        for count, what in sorted(moments):
            until(lambda count=count: ledger.told() >= count, seconds=_ALL_SECONDS)  # type: ignore[misc]
            if what == "kill":
                until(lambda: cluster.holder().partition("_")[0] in processes, seconds=_ALL_SECONDS)
                processes.pop(cluster.holder().partition("_")[0]).kill()
                launch()
            else:
                unwell.close()
                time.sleep(1.5)
                unwell.open()
        until(lambda: all(_is_marked(job) for job in _jobs(cluster)), seconds=_ALL_SECONDS, pause_seconds=0.5)
        return Report(
            ends=len(names),
            untold=[name for name in names if name not in ledger.accepted],
            early=ledger.early,
            repeated=sum(count > 1 for count in ledger.accepted.values()),
            unmarked=[job.metadata.name for job in _jobs(cluster) if job.spec.ttl_seconds_after_finished != 3600],
            requests=len(unwell.received) + len(well.received),
            kills=size.kills,
        )


def _jobs(cluster: ClusterFixture) -> list[Any]:
    found: list[Any] = cluster.batch.list_namespaced_job(cluster.namespace).items
    return found


def _is_marked(job: Any) -> bool:
    return bool(job.metadata.annotations[labels.NOTIFICATION_ANNOTATION] == "Delivered")


def main() -> int:
    """Play it on an embedded cluster, print the report, and return the exit code."""
    keep_loopback_direct()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.notifications", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="draws the same answers; by default drawn and printed")
    parsed = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if parsed.seed is None else parsed.seed
    print(f"seed {seed}: {FULL}", flush=True)
    with (
        embedded_server() as server,
        tempfile.TemporaryDirectory() as folder,
        FaultProxy(server.url, ca=server.ca_file) as proxy,
    ):
        report = play(ClusterFixture(server, server.create_namespace(), Path(folder), proxy), seed, FULL)
    print(report)
    for failure in report.failures():
        print(failure, file=sys.stderr)
    return 1 if report.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
