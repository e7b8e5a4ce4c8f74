"""Which ends are counted: each once, whoever leads, and however often the watch shows them."""

from dataclasses import replace

from app.dispatcher.run_ends import _MARGIN_SECONDS, _MOST_COUNTED, CountedEnd, RunEnds
from app.domain.run import Phase, Run
from app.domain.run_end import RunEnd
from tests.support.clock import Clock
from tests.unit.dispatcher.runs import make_run


class Ends:
    """What one process counts, with a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.now = 100_000.0
        self.found: list[CountedEnd] = []
        self.ends = RunEnds(self.clock, self.found.append)

    def lead(self, predecessor_renewed_at: float | None = None) -> None:
        """Begin a term; the time is in seconds."""
        self.ends.begin_term(None if predecessor_renewed_at is None else int(predecessor_renewed_at * 1_000_000))

    def outcomes(self) -> list[str]:
        """The outcomes that were counted, in order."""
        return [counted.end.outcome for counted in self.found]


def ended(run: Run, at: float, outcome: str = "succeeded") -> Run:
    assert outcome in ("succeeded", "failed")
    return replace(run, phase=Phase.FINISHED, end=RunEnd(outcome, ended_at=int(at * 1_000_000)))  # type: ignore[arg-type]


ACTIVE = make_run(1, phase=Phase.ADMITTED)


def test_change__end_that_the_watch_shows__is_counted_once() -> None:
    """Later changes of the finished Job, and its deletion, are no second end."""
    counting = Ends()
    counting.lead()
    counting.ends.change(None, ACTIVE)
    finished = ended(ACTIVE, at=100_001)
    counting.clock.now += 2
    counting.ends.change(ACTIVE, finished)
    counting.ends.change(None, replace(finished, resource_version=9))
    assert counting.outcomes() == ["succeeded"]


def test_change__end_that_was_long_unknown__is_counted_when_the_view_knew_the_run() -> None:
    """For instance after an outage of the API server."""
    counting = Ends()
    counting.lead()
    counting.clock.now += 10 * _MARGIN_SECONDS
    counting.ends.pass_time()
    counting.ends.change(ACTIVE, ended(ACTIVE, at=100_001, outcome="failed"))
    assert counting.outcomes() == ["failed"]


def test_change__deletion_before_the_end__is_a_cancelled_run() -> None:
    counting = Ends()
    counting.lead()
    counting.ends.change(ACTIVE, None)
    assert counting.outcomes() == ["cancelled"]


def test_change__end_without_a_time__is_counted_once() -> None:
    """A run that was ended in the queue has a terminal condition only later."""
    counting = Ends()
    counting.lead()
    queued = make_run(2)
    told = replace(queued, phase=Phase.FINISHED, end=RunEnd("failed", "QueueTimeout"))
    counting.ends.change(queued, told)
    counting.ends.change(None, replace(told, end=RunEnd("failed", "QueueTimeout", ended_at=int(100_000.5e6))))
    assert counting.outcomes() == ["failed"]


def test_begin_term__ends_that_nobody_watched__are_counted_from_the_last_renewal_on() -> None:
    counting = Ends()
    counting.lead(predecessor_renewed_at=99_000)
    counting.ends.change(None, ended(make_run(1), at=98_999))
    counting.ends.change(None, ended(make_run(2), at=99_000))
    counting.ends.change(None, ended(make_run(3), at=99_500))
    assert [counted.run.uid for counted in counting.found] == ["uid-2", "uid-3"]


def test_begin_term__without_a_predecessor__counts_no_old_end() -> None:
    """The metrics of a new installation do not begin with history."""
    counting = Ends()
    counting.lead()
    counting.ends.change(None, ended(make_run(1), at=99_999))
    assert counting.found == []


def test_begin_term__lease_with_an_impossible_time__counts_a_day_at_most() -> None:
    """Whoever may write the Lease may have written anything."""
    counting = Ends()
    counting.lead(predecessor_renewed_at=0)
    counting.ends.change(None, ended(make_run(1), at=100_000 - 24 * 3600 - 1))
    assert counting.found == []
    counting.ends.change(None, ended(make_run(2), at=100_000 - 24 * 3600 + 1))
    assert counting.outcomes() == ["succeeded"]
    later = Ends()
    later.lead(predecessor_renewed_at=10**12)
    later.ends.change(None, ended(make_run(1), at=100_000.5))
    assert later.outcomes() == ["succeeded"]


def test_begin_term__same_process_leads_again__counts_nothing_twice() -> None:
    counting = Ends()
    counting.lead()
    counting.ends.change(ACTIVE, ended(ACTIVE, at=100_001))
    counting.lead(predecessor_renewed_at=99_999)
    counting.ends.change(None, ended(ACTIVE, at=100_001))
    assert counting.outcomes() == ["succeeded"]


def test_pass_time__end_within_a_gap_of_the_watch__is_counted() -> None:
    """The run was made and ended while the watch was broken: the next list shows it for the first time."""
    counting = Ends()
    counting.lead()
    counting.clock.now += 5000
    counting.ends.pass_time()
    counting.clock.now += 3000  # the view is not current meanwhile
    counting.ends.change(None, ended(make_run(1), at=105_001))
    counting.ends.pass_time()
    counting.ends.change(None, ended(make_run(2), at=105_001))
    assert [counted.run.uid for counted in counting.found] == ["uid-1"]


def test_count__more_ends_than_are_remembered__are_still_counted_once() -> None:
    counting = Ends()
    counting.lead()
    runs = [make_run(number) for number in range(_MOST_COUNTED + 10)]
    for number, run in enumerate(runs):
        counting.ends.change(run, ended(run, at=100_001 + number / 1000))
    for number, run in enumerate(runs):
        counting.ends.change(None, ended(run, at=100_001 + number / 1000))
    assert len(counting.found) == len(runs)
    assert len(counting.ends._counted) == _MOST_COUNTED
