"""One dispatcher of the model: what it knows, and its calls under way."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.dispatcher.intent import Intent
from app.dispatcher.leadership import Leadership
from app.dispatcher.write import Write
from app.domain.run import Phase


class Call(NamedTuple):
    """A write of a run that may reach the API server.

    Attributes:
        side: the dispatcher that sent it.
        life: which of its lives sent it.
        write: what it is.
        copy: tells it from an equal one that is under way, too.
    """

    side: int
    life: int
    write: Write
    copy: int


class LeaseCall(NamedTuple):
    """A write of the Lease that may reach the API server.

    Attributes:
        base: the version that it replaces; empty: none.
        intent: what it says.
        releases: whether it gives the Lease back.
    """

    base: str
    intent: Intent
    releases: bool


class RunState(NamedTuple):
    """A run as the API server has it.

    Attributes:
        version: its resourceVersion.
        phase: queued, admitted or finished.
        since: when it was admitted.
        runs: whether its container has started. Its Job shows that later.
        awaits_start: whether its Job does not show yet that it has started, and nobody has given it up.
    """

    version: int
    phase: Phase
    since: int = 0
    runs: bool = False
    awaits_start: bool = True


class Ending(NamedTuple):
    """A write that ends a run whose time is over, and that may reach the API server at any later time, or never.

    Attributes:
        run: its index.
        version: the resourceVersion that the write carries; `None`: it carries none.
        gives_up: whether it ends an admitted run that has not started; else it ends a queued one.
    """

    run: int
    version: int | None
    gives_up: bool


def order_of_call(call: Call) -> tuple[Any, ...]:
    """Sort calls, so that a seed gives the same schedule in every process."""
    return call.side, call.life, call.write.purpose.value, call.write.pin, call.write.term, call.copy


class Side:
    """One dispatcher, as it is between two steps.

    Attributes:
        leadership: the product's decisions.
        life: how often it has died.
        lease_call: its write of the Lease under way.
        view: the runs as it knows them; `None`: it has listed nothing in this term.
        parked: the runs that it leaves out for now.
        sees_ready: whether it knows the dependency as ready.
        listed_unready: whether the dependency was unready when it listed, and has been ever since.
        connected: whether its watches are open.
        outdated: whether a restore of etcd has taken back a change that it has seen.
        overtaken: by definition that stands in the Lease, how many writes of each other one were sent before its own.
    """

    __slots__ = (
        "connected",
        "early",
        "leadership",
        "lease_call",
        "life",
        "listed_unready",
        "outdated",
        "overtaken",
        "parked",
        "sees_ready",
        "view",
    )

    def __init__(self, leadership: Leadership) -> None:
        self.leadership = leadership
        self.life = 0
        self.lease_call: LeaseCall | None = None
        self.view: tuple[RunState, ...] | None = None
        self.early: tuple[tuple[RunState, ...], bool] | None = None
        self.parked: frozenset[int] = frozenset()
        self.sees_ready = False
        self.listed_unready = False
        self.connected = False
        self.outdated = False
        self.overtaken: dict[str, dict[str, int]] = {}

    def copy(self) -> Side:
        """A side that can change on its own."""
        new = Side.__new__(Side)
        for name in Side.__slots__:
            setattr(new, name, getattr(self, name))
        new.overtaken = {name: dict(others) for name, others in self.overtaken.items()}
        return new

    def end_view(self) -> None:
        """Forget what it knew of the runs, as the end of a term has it."""
        self.view, self.connected, self.outdated, self.overtaken = None, False, False, {}
