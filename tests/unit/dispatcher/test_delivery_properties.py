"""What holds of deliveries, whatever receivers and the API server do, and in whatever order workers come back."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.dispatcher.deliveries import WORKERS, Deliveries, Delivery
from app.dispatcher.undelivered import UndeliveredRuns
from schemas.run import Notification
from tests.unit.dispatcher.test_deliveries import NOW, definition, ended

NAMES = ("a", "b", "c", "d", "e")
SHARED = {"d": "https://a.example/other"}  # the receiver of a
STATUSES = (None, 302, 400, 404, 408, 429, 500, 503)


class Workers(RuleBasedStateMachine):
    """Four workers, five definitions, four receivers. Every end must be told in the end, and written once."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries = Deliveries()
        self.runs = UndeliveredRuns()
        self.definitions = {name: definition(name, url=SHARED.get(name, "")) for name in NAMES}
        self.now = 0.0
        self.number = 0
        self.busy: list[Delivery] = []
        self.sent: Counter[str] = Counter()

    @initialize()
    def begin(self) -> None:
        """Some runs have ended before."""
        for name in NAMES:
            self.end_run(name, count=3)

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 5))
    def end_run(self, name: str, count: int) -> None:
        """Runs end."""
        for _ in range(count):
            self.number += 1
            self.runs.put(ended(self.number, name, ago=-self.now))

    @precondition(lambda self: len(self.busy) < WORKERS)
    @rule()
    def take(self) -> None:
        """A worker is free."""
        found = self.deliveries.choose(self.runs, self.definitions.get, self.now, NOW + self.now)
        if found is not None:
            assert found.state is Notification.DELIVERED
            assert found.run.uid not in [one.run.uid for one in self.busy]
            assert (found.notify is None) is (self.sent[found.run.uid] > 0)  # what was sent is only written
            self.busy.append(found)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), status=st.sampled_from(STATUSES), retry_after=st.sampled_from((0, 0, 30)))
    def fail(self, data: st.DataObject, status: int | None, retry_after: int) -> None:
        """A receiver does not accept an event."""
        delivery = data.draw(st.sampled_from(self.busy))
        if delivery.notify is None:
            return
        self.busy.remove(delivery)
        self.deliveries.not_sent(delivery, status, retry_after, self.now)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), written=st.sampled_from((True, True, False, None)))
    def accept(self, data: st.DataObject, written: bool | None) -> None:
        """A receiver accepts an event, if it is not told yet. The write succeeds, is refused, or has no answer."""
        delivery = data.draw(st.sampled_from(self.busy))
        self.busy.remove(delivery)
        if delivery.notify is not None:
            self.sent[delivery.run.uid] += 1
            self.deliveries.sent(delivery)
        if written:
            self.deliveries.written(delivery.run.uid)
            self.runs.discard(delivery.run.uid)
        else:
            self.deliveries.not_written(delivery, self.now, refused=written is False)

    @rule(seconds=st.sampled_from((0.5, 1, 60, 400)))
    def wait(self, seconds: float) -> None:
        """Time passes, less than a day in all."""
        if self.now + seconds < 40_000:
            self.now += seconds

    @invariant()
    def one_receiver_never_holds_all_workers(self) -> None:
        """And one that did not answer well last has one delivery, so that at least one worker is left for others."""
        to = Counter(one.notify.receiver for one in self.busy if one.notify is not None)
        assert all(count <= 2 for count in to.values())

    @invariant()
    def what_was_sent_is_not_sent_again(self) -> None:
        """No leader sends an end twice that a receiver has accepted."""
        assert all(count == 1 for count in self.sent.values())

    def teardown(self) -> None:
        """From now on all is well: every end is told and written within a day."""
        for delivery in self.busy:
            self.deliveries.put_back(delivery)
        steps = 0
        while self.runs.groups:
            found = self.deliveries.choose(self.runs, self.definitions.get, self.now, NOW)
            if found is None:
                self.now += 1
                steps += 1
                assert steps < 4 * 3600
                continue
            if found.notify is not None:
                self.sent[found.run.uid] += 1
                self.deliveries.sent(found)
            self.deliveries.written(found.run.uid)
            self.runs.discard(found.run.uid)
        assert all(count == 1 for count in self.sent.values())


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(stateful_step_count=40)
