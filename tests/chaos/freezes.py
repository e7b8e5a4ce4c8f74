"""Processes of the service that are paused with SIGSTOP, and go on later."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.chaos.etcd_watcher import EtcdWatcher
from tests.chaos.history import INTENT_ANNOTATION, RunVersion
from tests.chaos.processes import Member, ServiceProcesses
from tests.chaos.schedule import SWITCHED
from tests.support.faults import Call, Fault, Hold, Request

_PATCH_SECONDS = 0.5
"""How long a leader has to send the first of its patches."""


class Freeze:
    """Pauses one member, and makes sure that it goes on.

    Attributes:
        named: the runs that the intent of a member names which was paused after it.
    """

    def __init__(self, watcher: EtcdWatcher, processes: ServiceProcesses) -> None:
        self.named: list[RunVersion] = []
        self._watcher = watcher
        self._processes = processes
        self._lock = threading.Lock()
        self._frozen: list[Member] = []
        self._late: list[tuple[Member, Fault]] = []
        self._threads: list[threading.Thread] = []

    def begin(self, member: Member) -> None:
        """Pause all processes of a member."""
        with self._lock:
            self._frozen.append(member)
            self._processes.pause(member)

    def end(self) -> None:
        """Forward what was held back, and have the processes go on."""
        for thread in self._threads:
            thread.join()
        for member, fault in self._late:
            member.proxy.remove(fault)
        for member in self._frozen:
            self._processes.resume(member)

    @contextmanager
    def after_intent(self, members: Sequence[Member], pick: float) -> Iterator[Callable[[], Member | None]]:
        """Pause the member that writes the next intent with a run that depends on `SWITCHED` into the Lease.

        One third is paused before it gets the answer. The others are paused when the first of its patches is on the
        way. All that it has sent by then is held back until `end`.

        Yields:
            A function that returns this member.
        """
        found: list[Member] = []

        def act(member: Member) -> None:
            with self._lock:
                if found:
                    return
                found.append(member)
            if pick < 1 / 3:
                self.begin(member)
                return
            hold = Hold()
            self._late.append((member, member.proxy.add(Fault(hold, method="PATCH", path=r"/jobs/", times=None))))

            def pause_later() -> None:
                with suppress(TimeoutError):
                    hold.wait_held(timeout_seconds=_PATCH_SECONDS)
                self.begin(member)

            thread = threading.Thread(target=pause_later, name="freeze")
            self._threads.append(thread)
            thread.start()

        def add(member: Member) -> Fault:
            action = Call(lambda: act(member))
            return member.proxy.add(
                Fault(action, method="PUT", path=r"/leases/", when=self._names_switched, times=None)
            )

        faults = [(member, add(member)) for member in members]
        try:
            yield lambda: found[0] if found else None
        finally:
            for member, fault in faults:
                member.proxy.remove(fault)

    def _names_switched(self, request: Request) -> bool:
        """Return whether a write of the Lease names a run that may be admitted, and that depends on `SWITCHED`."""
        try:
            intent = json.loads(json.loads(request.body)["metadata"]["annotations"][INTENT_ANNOTATION])
        except (ValueError, KeyError):
            return False
        runs = [run for uid, _ in intent["runs"] if (run := self._watcher.run(uid)) is not None]
        if not any(SWITCHED in run.depends_on and run.suspended for run in runs):
            return False
        with self._lock:
            self.named = self.named or runs
        return True

    def settled(self) -> bool:
        """Whether every run that the intent names has changed since, so that no patch for it can land."""
        return all(self._watcher.run(run.uid) != run for run in self.named)
