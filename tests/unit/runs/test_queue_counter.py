"""How many runs are queued, whatever the order in which the watch and the calls that store runs tell of them."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.kube.reflector import SILENCE_SECONDS
from app.runs.limits.queue_counter import DrainRate, QueueCounter, QueuedJob

NAMES = [f"run-{number}" for number in range(5)]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        """Begin at any time."""
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def is_free() -> None:
    """There is always a place."""


def queued(name: str) -> QueuedJob:
    return QueuedJob(name, "fib", queued=True)


def gone_on(name: str) -> QueuedJob:
    return QueuedJob(name, "fib", queued=False)


class Calls(RuleBasedStateMachine):
    """Calls that store runs, of which some have one name, and a watch that tells late; against what is true."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = QueueCounter(Clock())
        self.counter.replace([], 1)
        self.calls: list[tuple[str, bool]] = []  # under way: the run, and whether it is to be taken back on failure
        self.stored: dict[str, bool] = {}  # runs in the cluster, and whether they are queued
        self.news: list[QueuedJob] = []  # what the watch has not told yet
        self.unseen: set[str] = set()  # stored, and not told of

    @rule(name=st.sampled_from(NAMES))
    def begin(self, name: str) -> None:
        """A call begins to store a run."""
        self.calls.append((name, self.counter.expect("fib", name, is_free)))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A call ends: it has stored the run, or found it there."""
        name, counts = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        if name in self.stored:
            if counts:
                self.counter.release(name)
            return
        self.stored[name] = True
        self.unseen.add(name)
        self.news.append(queued(name))

    @precondition(lambda self: any(self.stored.values()))
    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        """A run leaves the queue."""
        name = data.draw(st.sampled_from([name for name, waits in self.stored.items() if waits]))
        self.stored[name] = False
        self.news.append(gone_on(name))

    @precondition(lambda self: self.news)
    @rule()
    def tell(self) -> None:
        """The watch tells the oldest news."""
        sight = self.news.pop(0)
        self.unseen.discard(sight.name)
        self.counter.put(sight)

    @invariant()
    def it_never_counts_too_few(self) -> None:
        """What is stored and queued counts, whether it has been told of or not."""
        assert self.counter.length("fib") >= sum(self.stored.values())

    @invariant()
    def once_all_is_told_it_is_exact(self) -> None:
        """Nothing is counted twice, and nothing is left of calls that are over."""
        if not self.news and not self.calls:
            assert self.counter.length("fib") == self.counter.total() == sum(self.stored.values())


TestCalls = Calls.TestCase


def test_a_list_counts_what_it_holds_and_what_is_about_to_be_stored() -> None:
    """After the watch broke: runs that were admitted meanwhile have left, those that are being stored have not."""
    counter = QueueCounter(Clock())
    assert not counter.filled.is_set()
    counter.replace([queued("a"), queued("b"), gone_on("c")], 1)
    assert counter.filled.is_set()
    counter.expect("fib", "d", is_free)
    counter.expect("fib", "e", is_free)
    counter.replace([queued("b"), gone_on("a"), queued("d")], 1)
    assert counter.length("fib") == counter.total() == 3  # b, d and e


def test_a_run_that_is_deleted_leaves_and_one_of_its_name_that_is_about_to_be_stored_stays() -> None:
    """A name may be used again, once its run is gone."""
    counter = QueueCounter(Clock())
    counter.replace([gone_on("a")], 1)
    counter.expect("fib", "a", is_free)
    counter.remove(gone_on("a"))
    assert counter.length("fib") == 1
    counter.put(queued("a"))
    counter.remove(queued("a"))
    assert counter.length("fib") == 0


def test_who_has_a_place_is_not_asked_for_another() -> None:
    """A repeated call whose run is queued, or being stored, comes through a full queue."""

    def refuse() -> None:
        raise LookupError

    counter = QueueCounter(Clock())
    counter.replace([queued("a")], 1)
    counter.expect("fib", "b", is_free)
    assert not counter.expect("fib", "a", refuse)
    assert counter.expect("fib", "b", refuse)
    with pytest.raises(LookupError):
        counter.expect("fib", "c", refuse)
    counter.release("b")
    assert counter.length("fib") == 2, "another call still stores it"


def test_what_is_never_seen_counts_for_a_while_only() -> None:
    """A run that may have been stored, and wasn't."""
    clock = Clock()
    counter = QueueCounter(clock)
    counter.replace([], 1)
    counter.expect("fib", "a", is_free)
    clock.now += SILENCE_SECONDS - 1
    counter.expect("fib", "b", is_free)
    counter.forget_unseen()
    assert counter.length("fib") == 2
    clock.now += 2
    counter.forget_unseen()
    assert counter.length("fib") == counter.total() == 1
    counter.release("a")
    assert counter.length("fib") == 1


@pytest.mark.parametrize(
    ("departures", "now", "seconds"),
    [
        pytest.param([], 0, 1, id="nothing known yet"),
        pytest.param([], 40, 40, id="none has left for as long as anybody has looked"),
        pytest.param([], 4000, 300, id="never longer than five minutes"),
        pytest.param([5], 10, 10, id="one in the ten seconds since it was first looked at"),
        pytest.param([95], 100, 60, id="one in the last minute"),
        pytest.param([95, 96, 97], 100, 20, id="three in the last minute"),
        pytest.param([10, 20], 100, 80, id="none in the last minute: as long as since the last one"),
        pytest.param([90 + n / 100 for n in range(1000)], 100, 1, id="many a second"),
        pytest.param([90 + n / 1000 for n in range(100)], 100, 1, id="a burst"),
    ],
)
def test_when_to_try_again_follows_from_how_fast_the_queue_drains(
    departures: list[float], now: float, seconds: int
) -> None:
    """As long as it takes one run to leave, from 1 to 300 seconds."""
    drain = DrainRate(since=0.0)
    for departure in departures:
        drain.note(departure)
    assert drain.retry_after_seconds(now) == seconds
