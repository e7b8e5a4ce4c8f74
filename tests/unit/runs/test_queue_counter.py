"""The count of queued runs, in whatever order the watch and the requests that store runs report them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain.run import DependsOn
from app.kube.reflector import SILENCE_SECONDS
from app.runs.limits.drain_rate import DrainRate
from app.runs.limits.queue_counter import (
    Limit,
    QueueCounter,
    QueueFull,
    QueueLimits,
    Reservation,
    read_queued_job,
)
from app.runs.limits.queue_usage import QueuedJob, QueueUsage
from benchmarks.target import build_sample
from tests.support.clock import Clock

NAMES = [f"run-{number}" for number in range(5)]
NO_LIMITS = QueueLimits(of_definition=None, of_all=None)
FULL = QueueLimits(of_definition=0, of_all=None)


def queued(name: str) -> QueuedJob:
    return QueuedJob(name, "fib", queued=True)


def admitted(name: str) -> QueuedJob:
    return QueuedJob(name, "fib", queued=False)


def reserve(counter: QueueCounter, name: str) -> Reservation:
    """Reserve a place where no limit is set."""
    reservation = counter.reserve(queued(name), NO_LIMITS)
    assert isinstance(reservation, Reservation)
    return reservation


class Requests(RuleBasedStateMachine):
    """Requests that store runs, some of one name, and a watch that is late; compared with the cluster's state."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = QueueCounter(Clock())
        self.counter.replace([], 1)
        self.requests: list[tuple[str, Reservation]] = []  # under way
        self.stored: dict[str, bool] = {}  # runs in the cluster, and whether they are queued
        self.events: list[QueuedJob] = []  # not delivered by the watch yet

    @rule(name=st.sampled_from(NAMES))
    def begin(self, name: str) -> None:
        """A request begins to store a run."""
        self.requests.append((name, reserve(self.counter, name)))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A request ends: it has stored the run, or found that it exists."""
        name, reservation = self.requests.pop(data.draw(st.integers(0, len(self.requests) - 1)))
        if name in self.stored:
            reservation.release()
            return
        self.stored[name] = True
        self.events.append(queued(name))

    @precondition(lambda self: any(self.stored.values()))
    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        """A run leaves the queue."""
        name = data.draw(st.sampled_from([name for name, waits in self.stored.items() if waits]))
        self.stored[name] = False
        self.events.append(admitted(name))

    @precondition(lambda self: self.events)
    @rule()
    def deliver(self) -> None:
        """The watch delivers the oldest event."""
        self.counter.put(self.events.pop(0))

    @invariant()
    def counts_no_run_too_few(self) -> None:
        """A run that is stored and queued counts, whether or not the watch has shown it."""
        assert self.counter.length("fib") >= sum(self.stored.values())

    @invariant()
    def is_exact_once_all_events_are_delivered(self) -> None:
        """No run counts twice, and nothing is left of requests that have ended."""
        if not self.events and not self.requests:
            assert self.counter.length("fib") == self.counter.total() == sum(self.stored.values())


TestRequests = Requests.TestCase


def test_replace__counts_listed_and_reserved_runs() -> None:
    """After the watch broke: runs that were admitted meanwhile have left, reserved ones have not."""
    counter = QueueCounter(Clock())
    assert not counter.filled.is_set()
    counter.replace([queued("a"), queued("b"), admitted("c")], 1)
    assert counter.filled.is_set()
    reserve(counter, "d")
    reserve(counter, "e")
    counter.replace([queued("b"), admitted("a"), queued("d")], 1)
    assert counter.length("fib") == counter.total() == 3  # b, d and e


def test_remove__keeps_the_reservation_of_a_later_run_with_the_same_name() -> None:
    counter = QueueCounter(Clock())
    counter.replace([admitted("a")], 1)
    reserve(counter, "a")
    counter.remove(admitted("a"))
    assert counter.length("fib") == 1
    counter.put(queued("a"))
    counter.remove(queued("a"))
    assert counter.length("fib") == 0


def test_reserve__needs_no_other_place_for_a_queued_or_reserved_run() -> None:
    """A repeated request passes a full queue if its run is queued or being stored."""
    counter = QueueCounter(Clock())
    counter.replace([queued("a")], 1)
    reserve(counter, "b")
    assert counter.reserve(queued("a"), FULL) == Reservation(None, "a")
    repeated = counter.reserve(queued("b"), FULL)
    assert isinstance(repeated, Reservation)
    repeated.release()
    assert counter.length("fib") == 2, "the first request still stores b"


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        pytest.param(NO_LIMITS, None, id="no limit"),
        pytest.param(QueueLimits(3, 4), None, id="room for one more in both"),
        pytest.param(QueueLimits(2, 4), ("fib", 2), id="the definition's queue is full"),
        pytest.param(QueueLimits(3, 3), (None, 3), id="all queues together are full"),
        pytest.param(QueueLimits(2, 3), ("fib", 2), id="both: the definition's limit is named"),
        pytest.param(QueueLimits(1, None), ("fib", 1), id="a limit that was lowered since"),
    ],
)
def test_reserve__refuses_a_run_beyond_a_limit(limits: QueueLimits, reached: tuple[str | None, int] | None) -> None:
    """Two runs of this definition wait, and one of another. A refused run leaves nothing in the count."""
    counter = QueueCounter(Clock())
    counter.replace([queued("a"), QueuedJob("other", "other", queued=True)], 1)
    reserve(counter, "b")
    would = counter.find_reached_limit(queued("c"), limits)
    assert counter.length("fib") == 2, "looking reserves nothing"
    result = counter.reserve(queued("c"), limits)
    if reached is None:
        assert would is None
        assert isinstance(result, Reservation)
        assert counter.length("fib") == 3
    else:
        assert isinstance(result, QueueFull)
        assert (result.definition, result.limit) == reached
        assert would == result
        assert counter.length("fib") == 2
        assert counter.total() == 3


def test_forget_unseen__drops_a_reservation_that_the_watch_has_not_shown_in_time() -> None:
    """The run may have been stored, and was not."""
    clock = Clock()
    counter = QueueCounter(clock)
    counter.replace([], 1)
    first = reserve(counter, "a")
    clock.now += SILENCE_SECONDS - 1
    reserve(counter, "b")
    counter.forget_unseen()
    assert counter.length("fib") == 2
    clock.now += 2
    counter.forget_unseen()
    assert counter.length("fib") == counter.total() == 1
    first.release()
    assert counter.length("fib") == 1


@pytest.mark.parametrize(
    ("departures", "now", "seconds"),
    [
        pytest.param([], 0, 1, id="looked at since this moment"),
        pytest.param([], 40, 40, id="no departure since the first look"),
        pytest.param([], 4000, 300, id="at most five minutes"),
        pytest.param([5], 10, 10, id="one departure in the ten seconds since the first look"),
        pytest.param([95], 100, 60, id="one departure in the last minute"),
        pytest.param([95, 96, 97], 100, 20, id="three departures in the last minute"),
        pytest.param([10, 20], 100, 80, id="no departure in the last minute: the time since the last one"),
        pytest.param([90 + n / 100 for n in range(1000)], 100, 1, id="many a second"),
        pytest.param([90 + n / 1000 for n in range(100)], 100, 1, id="a burst"),
    ],
)
def test_retry_after_seconds__is_the_time_in_which_one_run_leaves(
    departures: list[float], now: float, seconds: int
) -> None:
    """From 1 to 300 seconds."""
    drain = DrainRate(since=0.0)
    for departure in departures:
        drain.note(departure)
    assert drain.retry_after_seconds(now) == seconds


def large(name: str, definition: str = "fib", depends_on: tuple[str, ...] = ()) -> QueuedJob:
    return QueuedJob(name, definition, True, size_kib=100, depends_on=depends_on)


def full_for(counter: QueueCounter, job: QueuedJob, limits: QueueLimits) -> tuple[Limit, str | None] | None:
    full = counter.find_reached_limit(job, limits)
    return None if full is None else (full.kind, full.definition)


def test_reserve__bounds_what_runs_take_in_etcd() -> None:
    """The size is limited for one definition and for all together. A run that leaves the queue frees its size."""
    limits = QueueLimits(None, None, kib_of_definition=250, kib_of_all=350)
    counter = QueueCounter(Clock())
    counter.replace([large("a"), large("b")], 1)
    assert full_for(counter, large("c"), limits) == (Limit.SIZE, "fib")
    assert isinstance(counter.reserve(large("d", "other"), limits), Reservation)
    assert full_for(counter, large("e", "third"), limits) == (Limit.SIZE, None)
    counter.put(admitted("a"))
    assert full_for(counter, large("c"), limits) is None
    counter.release("d")
    counter.remove(queued("b"))
    assert full_for(counter, large("c"), QueueLimits(None, None, kib_of_all=100)) is None


def test_reserve__bounds_what_different_lists_of_dependencies_take_in_memory() -> None:
    """Equal lists are kept once. A run without a list of its own is never refused for the lists of others."""
    names = tuple(f"w{number}" + "a" * 200 for number in range(5))
    limits = QueueLimits(None, None, dependency_bytes=8000)
    counter = QueueCounter(Clock())
    counter.replace([], 1)
    assert isinstance(counter.reserve(large("a", depends_on=names), limits), Reservation)
    assert isinstance(counter.reserve(large("b", depends_on=(*names,)), limits), Reservation)
    assert isinstance(counter.reserve(large("c", depends_on=names[::-1]), limits), Reservation)
    assert full_for(counter, large("d", depends_on=names[1:]), limits) == (Limit.DEPENDENCIES, None)
    assert full_for(counter, large("d"), limits) is None
    assert full_for(counter, large("d", depends_on=names), limits) is None
    counter.put(admitted("c"))
    assert full_for(counter, large("d", depends_on=names[1:]), limits) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.sampled_from([None, (), ("x",), ("x", "y")]))))
def test_usage__is_empty_again_when_all_runs_have_left(given_runs: list[tuple[str, int, DependsOn]]) -> None:
    """Nothing is kept of definitions and lists that no run has: Jobs may name any."""
    usage = QueueUsage()
    added = [
        usage.add(QueuedJob(str(number), definition, True, size_kib, depends_on))
        for number, (definition, size_kib, depends_on) in enumerate(given_runs)
    ]
    for job in added:
        usage.remove(job)
    assert (usage.total_kib, usage.dependency_bytes, *usage.runs, *usage.size_kib) == (0, 0)
    assert vars(usage)["_lists"] == {}


def test_read_queued_job__measures_a_job_and_its_dependencies() -> None:
    """What the watch shows, and what a request is about to store."""
    job = build_sample("abcdefghijkl")
    read = read_queued_job(job)
    assert (read.definition, read.queued, read.depends_on) == ("fibonacci", True, ("fibonacci1",))
    assert 1 <= read.size_kib <= 3
    job["spec"]["template"]["spec"]["containers"][0]["args"] = ["$" * 100_000]
    assert 98 <= read_queued_job(job).size_kib <= 101
