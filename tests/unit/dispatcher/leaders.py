"""A leader's decisions with a clock of the test's own, and without any call."""

from collections.abc import Callable

from app.dispatcher.admissions import Admissions
from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.intent import Intent
from app.dispatcher.lease import SeenLease
from app.dispatcher.run_ends import RunEnds
from app.dispatcher.start_latency import StartLatency
from app.dispatcher.write import Write
from app.domain.pending_reason import PendingReason
from app.domain.run import Run
from app.kube.errors import ClusterError


class Leader:
    """A dispatcher's decisions with a clock of its own. Writes of the Lease are stored at once."""

    def __init__(self, slots: dict[str, int], runs: list[Run]) -> None:
        self.now_seconds = 0.0
        self.slots = slots
        self.told: list[tuple[Run, PendingReason, str]] = []
        self.admissions = Admissions(
            "me",
            ChangeSignal(),
            self.clock,
            self.clock,
            StartLatency(self.clock),
            RunEnds(self.clock, lambda _end: None),
            lambda *told: self.told.append(told),
        )
        self.lease_version = 0
        self.admissions.leadership, intent = self.admissions.leadership.prepare_take()
        self.store_lease(intent._replace(complete=True))
        self.admissions.runs.replace(runs, 1)
        self.admissions.set_current(True)

    def clock(self) -> float:
        """Seconds that the test counts."""
        return self.now_seconds

    def store_lease(self, intent: Intent) -> None:
        """Answer a write of the Lease."""
        self.lease_version += 1
        seen = SeenLease(str(self.lease_version), "me", 15.0, 0, intent)
        self.admissions.leadership = self.admissions.leadership.stored(seen)

    def write_intent(self) -> None:
        """Write the Lease where there are runs to be admitted."""
        self.admissions.refresh_term()
        if self.admissions.wants_intent(self.slots):
            self.store_lease(self.admissions.prepare_renewal(self.slots))

    def run_for(self, seconds: float, answer: Callable[[Write], Run | ClusterError]) -> list[float]:
        """Carry out every write until then, each answered at once; returns when each was taken."""
        taken_at: list[float] = []
        while self.now_seconds < seconds:
            self.write_intent()
            while (write := self.admissions.take_write(self.slots)) is not None:
                taken_at.append(self.now_seconds)
                self.admissions.ended(write, answer(write))
            self.now_seconds += 0.05
        return taken_at
