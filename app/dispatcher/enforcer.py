"""The thread of a limit on runs: it looks at the leader's runs once a second, and ends those whose time is over."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from app.common.heartbeat import Heartbeat
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.run_store import RunStore
from app.kube.client import NamespacedClient

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""How often the runs are checked. This makes no call before the time of a run is over."""


@dataclass(frozen=True, slots=True)
class Leader:
    """What an enforcer needs of the dispatcher that it belongs to.

    Attributes:
        client: the client of the namespace.
        signal: its lock guards the runs.
        runs: returns the leader's store.
        may_write: asked before every call whether this dispatcher leads and its view is current.
        heartbeat: beats around every call.
        clock: seconds that never go back.
    """

    client: NamespacedClient
    signal: ChangeSignal
    runs: Callable[[], RunStore]
    may_write: Callable[[], bool]
    heartbeat: Heartbeat
    clock: Callable[[], float]


class Enforcer(ABC):
    """Enforces a limit, while this dispatcher leads.

    Args:
        leader: the dispatcher.
        name: of the limits, in the plural; the thread is called so, too.
    """

    def __init__(self, leader: Leader, name: str) -> None:
        self._client = leader.client
        self._signal = leader.signal
        self._runs = leader.runs
        self._may_write = leader.may_write
        self._clock = leader.clock
        self._heartbeat = leader.heartbeat
        self._name = name
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)

    def stop(self) -> None:
        """Ask the thread to end after its current call; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                while self._may_write() and self._enforce(self._runs()):
                    pass
            except Exception:
                log.exception("the %s of runs could not be enforced", self._name)
            self._heartbeat.rest(self.thread.name)

    def _beat(self) -> None:
        """Show that the thread makes progress."""
        self._heartbeat.beat(self.thread.name)

    @abstractmethod
    def _enforce(self, runs: RunStore) -> bool:
        """End runs whose time is over; return whether there may be more."""
