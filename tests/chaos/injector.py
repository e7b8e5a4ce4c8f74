"""Carrying out a schedule's faults, and noting what each one met."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import requests

from tests.chaos.etcd_watcher import Ledger
from tests.chaos.kinds import IN_TURN, KILLS, LINKS, OUTAGES, Kind
from tests.chaos.links import ONE_REQUEST, Links
from tests.chaos.processes import Fleet
from tests.chaos.schedule import TIDE, Schedule, Stroke, limiter
from tests.controlplane.plane import ControlPlane
from tests.support.service import Program

_CHANCE_SECONDS = 40.0
"""How long a fault waits for what it is to strike: a new leader comes only at the end of the last one's lease."""

_LOOK_SECONDS = 0.02
_RETRY_SECONDS = 0.5
_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Strike:
    """What became of one fault.

    Attributes:
        at_seconds: since the beginning, when it struck.
        struck: what it was; empty: nothing was there to be struck.
        queued: how many runs were queued then.
        active: how many were active.
    """

    kind: Kind
    at_seconds: float
    struck: str
    queued: int
    active: int

    @property
    def in_flight(self) -> bool:
        """Whether there was anything that it could have harmed; a request that was struck is a run's own."""
        return bool(self.struck) and (self.queued + self.active > 0 or self.kind in ONE_REQUEST)


class Striker:
    """Carries out a schedule's faults from entering the context on; what is undone later is undone in its own time."""

    def __init__(self, schedule: Schedule, plane: ControlPlane, fleet: Fleet, ledger: Ledger, namespace: str) -> None:
        self._plane = plane
        self._fleet = fleet
        self._ledger = ledger
        self._deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self._gates = schedule.size.gates
        self._stop = threading.Event()
        self._began = 0.0
        self._lock = threading.Lock()
        self._strikes: list[Strike] = []
        self._failures: list[BaseException] = []
        self._links = Links(fleet.members, self._stop)
        self._threads = [
            threading.Thread(target=self._run, args=(strokes,), name="strikes") for strokes in _lanes(schedule.strokes)
        ]

    def __enter__(self) -> Striker:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._join()
        for member in self._fleet.members:
            member.proxy.heal()

    def finish(self) -> list[Strike]:
        """Wait until all faults have struck and are undone; what they met, in the order of time.

        Raises:
            BaseException: whatever kept one from being made or undone.
        """
        self._join()
        if self._failures:
            raise self._failures[0]
        return sorted(self._strikes, key=lambda strike: strike.at_seconds)

    def make_deployments(self) -> None:
        """Create what runs depend on: the gates, not ready, and the tide, ready."""
        for name in (*map(limiter, range(self._gates)), TIDE):
            labels = {"app": name}
            template = {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
            }
            spec = {"replicas": int(name == TIDE), "selector": {"matchLabels": labels}, "template": template}
            self._plane.call("POST", self._deployments, {"metadata": {"name": name}, "spec": spec})
        assert self._ledger.wait(lambda: self._ledger.is_ready(TIDE), seconds=30.0)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._links.join()

    def _run(self, strokes: Sequence[Stroke]) -> None:
        try:
            for stroke in strokes:
                self._stop.wait(self._began + stroke.at_seconds - time.monotonic())
                if self._stop.is_set():
                    return
                self._strike(stroke)
        except BaseException as error:
            self._failures.append(error)

    def _strike(self, stroke: Stroke) -> None:
        if stroke.kind in KILLS:
            self._note(stroke, lambda: self._fleet.kill(stroke.kind, stroke.pick, self._ledger.holder))
        elif stroke.kind is Kind.STOP_REPLICA:
            self._note(stroke, lambda: self._fleet.stop(stroke.pick))
        elif stroke.kind is Kind.FREEZE_LEADER:
            self._freeze(stroke)
        elif stroke.kind in ONE_REQUEST:
            with self._links.waiting_for_request(stroke) as look:
                self._note(stroke, look)
        elif stroke.kind in LINKS:
            self._note(stroke, lambda: self._links.break_all(stroke, self._fleet.leader(self._ledger.holder)))
        elif stroke.kind in OUTAGES:
            if self._note(stroke, lambda: self._begin_outage(stroke.kind)):
                self._stop.wait(stroke.lasts_seconds)
                self._end_outage(stroke.kind)
        else:
            self._note(stroke, lambda: self._turn(stroke))

    def _note(self, stroke: Stroke, act: Callable[[], str | None]) -> bool:
        """Act as soon as there are runs in flight and something to act on, and note it; whether there was."""
        deadline = time.monotonic() + _CHANCE_SECONDS
        struck = None
        while True:
            (queued, active), at_seconds = self._ledger.in_flight(), time.monotonic() - self._began
            if queued + active or stroke.kind in ONE_REQUEST:
                struck = act()
            if struck or time.monotonic() > deadline or self._stop.is_set():
                break
            time.sleep(_LOOK_SECONDS)
        with self._lock:
            self._strikes.append(Strike(stroke.kind, at_seconds, struck or "", queued, active))
        return struck is not None

    def _freeze(self, stroke: Stroke) -> None:
        frozen: list[Program] = []

        def freeze() -> str | None:
            leader = self._fleet.freeze(self._ledger.holder)
            if leader is None:
                return None
            frozen.append(leader.program)
            return leader.name

        self._note(stroke, freeze)
        self._stop.wait(stroke.lasts_seconds)
        for program in frozen:
            program.send_signal(signal.SIGCONT, whole=True)  # another one by now, where it was killed meanwhile

    def _begin_outage(self, kind: Kind) -> str:
        match kind:
            case Kind.STOP_API_SERVER:
                self._plane.api_server.stop()
            case Kind.KILL_API_SERVER:
                self._plane.api_server.kill()
            case _:
                self._plane.etcd.pause()
        return self._plane.etcd.name if kind is Kind.PAUSE_ETCD else self._plane.api_server.name

    def _end_outage(self, kind: Kind) -> None:
        if kind is Kind.PAUSE_ETCD:
            self._plane.etcd.resume()
        else:
            self._plane.api_server.start()
        self._insist(self._plane.restart_controllers)

    def _turn(self, stroke: Stroke) -> str:
        name = limiter(round(stroke.pick * self._gates)) if stroke.kind is Kind.OPEN_GATE else TIDE
        patch = {"spec": {"replicas": int(stroke.kind is not Kind.EBB)}}
        path = f"{self._deployments}/{name}"
        self._insist(lambda: self._plane.call("PATCH", path, patch, content_type=_MERGE_PATCH))
        return name

    def _insist(self, act: Callable[[], object]) -> None:
        """Do what can be done again without harm, until it succeeds: the API server may be away."""
        deadline = time.monotonic() + 60.0
        while True:
            try:
                act()
            except (requests.RequestException, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return


def _lanes(strokes: Sequence[Stroke]) -> list[list[Stroke]]:
    """The strokes that come in turn, and each of the others alone: one that has to wait holds up no other."""
    in_turn = [kind for kinds in IN_TURN for kind in kinds]
    together = [[stroke for stroke in strokes if stroke.kind in kinds] for kinds in IN_TURN]
    return together + [[stroke] for stroke in strokes if stroke.kind not in in_turn]
