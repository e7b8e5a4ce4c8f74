"""Faults of the network: connections that are cut, or stay open and carry nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.kinds import Kind
from tests.chaos.processes import Member
from tests.chaos.schedule import Stroke
from tests.support.faults import Fault, GoSilent, LoseResponse

ONE_REQUEST: dict[Kind, tuple[GoSilent | LoseResponse, str, str]] = {
    Kind.SILENT_CREATE: (GoSilent(), "POST", r"/jobs$"),
    Kind.SILENT_STORED: (GoSilent(forward=True), "POST", r"/jobs$"),
    Kind.SILENT_ADMIT: (GoSilent(), "PATCH", r"/jobs/"),
    Kind.SILENT_ADMITTED: (GoSilent(forward=True), "PATCH", r"/jobs/"),
    Kind.LOST_STORED: (LoseResponse(), "POST", r"/jobs$"),
    Kind.LOST_ADMITTED: (LoseResponse(), "PATCH", r"/jobs/"),
}
"""Faults of the one connection that carries the next such request."""


class Links:
    """The connections of all members to the API server.

    Args:
        stop: set when everything is to be undone at once.
    """

    def __init__(self, members: Sequence[Member], stop: threading.Event) -> None:
        self._members = members
        self._stop = stop
        self._lock = threading.Lock()
        self._silenced: Counter[str] = Counter()
        self._undoing: list[threading.Thread] = []

    @contextmanager
    def waiting_for_request(self, stroke: Stroke) -> Iterator[Callable[[], str | None]]:
        """Strike the next request that the fault is for, wherever it passes; gives what tells whose it was."""
        action, method, path = ONE_REQUEST[stroke.kind]
        faults = [(member, Fault(action, method=method, path=path)) for member in self._members]
        for member, fault in faults:
            member.proxy.add(fault)

        def struck() -> list[Member]:
            return [member for member, fault in faults if member.proxy.hits(fault)]

        yield lambda: ", ".join(member.name for member in struck()) or None
        for member, fault in faults:
            member.proxy.remove(fault)
        if isinstance(action, GoSilent):
            for member in struck():
                self._heal_later(member, stroke.lasts_seconds)

    def break_all(self, stroke: Stroke, leader: Member | None) -> str | None:
        """Strike all connections of a member, or all its watches, which none but the leader has; which, or `None`."""
        watches = stroke.kind in (Kind.CUT_WATCHES, Kind.SILENT_WATCHES)
        member = (
            leader if watches or stroke.pick < 0.5 else self._members[int((2 * stroke.pick - 1) * len(self._members))]
        )
        if member is None:
            return None
        count = member.proxy.watches if watches else member.proxy.connections
        if not count:
            return None
        match stroke.kind:
            case Kind.CUT_ALL:
                member.proxy.cut_all()
            case Kind.CUT_WATCHES:
                member.proxy.cut_watches()
            case Kind.SILENT_ALL:
                member.proxy.silence()
            case Kind.SILENT_WATCHES:
                member.proxy.silence(watches_only=True)
        if stroke.lasts_seconds:
            self._heal_later(member, stroke.lasts_seconds)
        return f"{member.name}, {count} connections"

    def join(self) -> None:
        """Wait until everything is undone."""
        for thread in self._undoing:
            thread.join()

    def _heal_later(self, member: Member, seconds: float) -> None:
        """Let what is half-open speak again; where several faults overlap, at the end of the last one."""

        def heal() -> None:
            self._stop.wait(seconds)
            with self._lock:
                self._silenced[member.name] -= 1
                if not self._silenced[member.name]:
                    member.proxy.end_silence()

        with self._lock:
            self._silenced[member.name] += 1
            thread = threading.Thread(target=heal, name="heal")
            self._undoing.append(thread)
            thread.start()
