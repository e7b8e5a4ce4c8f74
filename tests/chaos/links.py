"""Network faults: connections that are cut, or that stay open and carry nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.kinds import Kind
from tests.chaos.processes import Member
from tests.chaos.schedule import PlannedFault
from tests.support.faults import Fault, GoSilent, Hold, LoseResponse

ONE_REQUEST: dict[Kind, tuple[GoSilent | LoseResponse, str, str]] = {
    Kind.SILENT_CREATE: (GoSilent(), "POST", r"/jobs$"),
    Kind.SILENT_STORED: (GoSilent(forward=True), "POST", r"/jobs$"),
    Kind.SILENT_ADMIT: (GoSilent(), "PATCH", r"/jobs/"),
    Kind.SILENT_ADMITTED: (GoSilent(forward=True), "PATCH", r"/jobs/"),
    Kind.LOST_STORED: (LoseResponse(), "POST", r"/jobs$"),
    Kind.LOST_ADMITTED: (LoseResponse(), "PATCH", r"/jobs/"),
}
"""Faults of the connection that carries the next such request: action, method and path."""

_WITHOUT_DEPENDENCIES = ("one", "two", "six")
"""The definitions whose runs can start at any time."""


class Links:
    """The connections of all members to the API server.

    Args:
        stop: set to end all faults at once.
    """

    def __init__(self, members: Sequence[Member], stop: threading.Event) -> None:
        self._members = members
        self._stop = stop
        self._lock = threading.Lock()
        self._silenced: Counter[str] = Counter()
        self._healers: list[threading.Thread] = []
        self._held: list[tuple[Member, Fault]] = []

    @contextmanager
    def waiting_for_request(self, fault: PlannedFault) -> Iterator[Callable[[], str | None]]:
        """Apply a fault to the next matching request of any member; yield a function that returns whose it was."""
        action, method, path = ONE_REQUEST[fault.kind]
        proxy_faults = [(member, Fault(action, method=method, path=path)) for member in self._members]
        for member, proxy_fault in proxy_faults:
            member.proxy.add(proxy_fault)

        def hit_members() -> list[Member]:
            return [member for member, proxy_fault in proxy_faults if member.proxy.hits(proxy_fault)]

        yield lambda: ", ".join(member.name for member in hit_members()) or None
        for member, proxy_fault in proxy_faults:
            member.proxy.remove(proxy_fault)
        if isinstance(action, GoSilent):
            for member in hit_members():
                self._heal_later(member, fault.lasts_seconds)

    def break_all(self, fault: PlannedFault, leader: Member | None) -> str | None:
        """Break all connections of a member, or all watches, which only the leader has.

        Returns:
            The member and the number of connections; `None` if there were none.
        """
        watches = fault.kind in (Kind.CUT_WATCHES, Kind.SILENT_WATCHES)
        member = (
            leader if watches or fault.pick < 0.5 else self._members[int((2 * fault.pick - 1) * len(self._members))]
        )
        if member is None:
            return None
        count = member.proxy.watches if watches else member.proxy.connections
        if not count:
            return None
        match fault.kind:
            case Kind.CUT_ALL:
                member.proxy.cut_all()
            case Kind.CUT_WATCHES:
                member.proxy.cut_watches()
            case Kind.SILENT_ALL:
                member.proxy.silence()
            case Kind.SILENT_WATCHES:
                member.proxy.silence(watches_only=True)
        if fault.lasts_seconds:
            self._heal_later(member, fault.lasts_seconds)
        return f"{member.name}, {count} connections"

    @contextmanager
    def hanging(self, pick: float) -> Iterator[Callable[[], str | None]]:
        """Hold back every admission and fence of one definition; yield a function that returns what is held.

        At the end all are forwarded, although their writers have given up.
        """
        definition = _WITHOUT_DEPENDENCIES[int(pick * len(_WITHOUT_DEPENDENCIES))]
        path = rf"/jobs/{definition}-[^/]*$"
        faults = [(member, Fault(Hold(), method="PATCH", path=path, times=None)) for member in self._members]
        for member, fault in faults:
            member.proxy.add(fault)
        with self._lock:
            self._held += faults

        def describe() -> str | None:
            hits = [(member.name, member.proxy.hits(fault)) for member, fault in faults]
            return ", ".join(f"{name}: {count} of {definition}" for name, count in hits if count) or None

        try:
            yield describe
        finally:
            for member, fault in faults:
                member.proxy.remove(fault)
            with self._lock:
                self._held = [one for one in self._held if one not in faults]

    def discard(self) -> None:
        """Drop every connection, and everything that is held back: none of it may arrive later."""
        with self._lock:
            held = list(self._held)
        for member, fault in held:
            assert isinstance(fault.action, Hold)
            fault.action.abandon()
            member.proxy.remove(fault)
        for member in self._members:
            member.proxy.cut_all()

    def join(self) -> None:
        """Wait until all faults have ended."""
        for thread in self._healers:
            thread.join()

    def _heal_later(self, member: Member, seconds: float) -> None:
        """End the silence of a member after a delay; where several faults overlap, at the end of the last one."""

        def heal() -> None:
            self._stop.wait(seconds)
            with self._lock:
                self._silenced[member.name] -= 1
                if not self._silenced[member.name]:
                    member.proxy.end_silence()

        with self._lock:
            self._silenced[member.name] += 1
            thread = threading.Thread(target=heal, name="heal")
            self._healers.append(thread)
            thread.start()
