"""What the dispatcher knows, whatever the order in which it hears of it."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.dispatcher.tables import Changes, ReadinessByName, RunTable, WorkloadTable
from app.domain.run import DependsOn, PendingStart, Phase, Run, queue_key
from app.domain.workload import Workload
from tests.unit.dispatcher.runs import DEFINITIONS, DEPENDENCIES, make_run

NUMBERS = range(6)
AWAITED = PendingStart(0, 60, has_failed=False)


class Cluster(RuleBasedStateMachine):
    """A table against a cluster whose truth it hears of by a watch, by answers to its own calls, and by lists.

    The watch tells every change once and in order, but late; after a break it tells some again. Answers are told out
    of turn. A list is true for the moment at which it was made, which is past when it is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = RunTable(Changes())
        self.version = 0
        self.truth: dict[str, Run] = {}
        self.log: list[tuple[str, Run]] = []  # every change there was
        self.told = 0  # how much of the log the watch has told
        self.answers: list[Run] = []

    @initialize()
    def begin(self) -> None:
        """Start with nothing."""
        self.table.replace([])

    def write(self, change: str, run: Run) -> None:
        """Change the truth."""
        self.log.append((change, run))
        if change == "DELETED":
            del self.truth[run.uid]
        else:
            self.truth[run.uid] = run
            self.answers.append(run)

    def next_version(self) -> int:
        """Versions grow over all runs."""
        self.version += 1
        return self.version

    @rule(
        number=st.sampled_from(NUMBERS),
        definition=st.sampled_from(DEFINITIONS),
        depends_on=st.sampled_from(DEPENDENCIES),
        queued_at=st.integers(0, 3),
        phase=st.sampled_from(Phase),
        awaits=st.booleans(),
    )
    def change(
        self, number: int, definition: str, depends_on: DependsOn, queued_at: int, phase: Phase, awaits: bool
    ) -> None:
        """Somebody creates a run, or changes anything of it."""
        run = make_run(
            number,
            version=self.next_version(),
            definition=definition,
            depends_on=depends_on,
            queued_at=queued_at,
            phase=phase,
            pending_start=AWAITED if awaits and phase is Phase.ADMITTED else None,
        )
        self.write("PUT", run)

    @rule(number=st.sampled_from(NUMBERS))
    def delete(self, number: int) -> None:
        """Somebody deletes a run; its uid may come back, as it does when labels are taken off and put on again."""
        if f"uid-{number}" in self.truth:
            last = self.truth[f"uid-{number}"]
            gone = make_run(number, version=self.next_version(), definition=last.definition)
            self.write("DELETED", gone)

    @rule(count=st.integers(1, 4))
    def tell(self, count: int) -> None:
        """The watch tells the next changes."""
        for change, run in self.log[self.told : self.told + count]:
            (self.table.remove if change == "DELETED" else self.table.put)(run)
        self.told = min(len(self.log), self.told + count)

    @rule(count=st.integers(1, 4))
    def break_off(self, count: int) -> None:
        """The watch begins again where it was a while ago; what it tells twice must do no harm."""
        self.told = max(0, self.told - count)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """The answer to a call of ours, as old or as new as any."""
        if self.answers:
            self.table.update(data.draw(st.sampled_from(self.answers)))

    @rule(lag=st.integers(0, 3))
    def relist(self, lag: int) -> None:
        """A list of some moment since the last change that was told; the watch goes on from there."""
        upto = max(self.told, len(self.log) - lag)
        listed: dict[str, Run] = {}
        for change, run in self.log[:upto]:
            if change == "DELETED":
                listed.pop(run.uid, None)
            else:
                listed[run.uid] = run
        self.table.replace(list(listed.values()))
        self.told = upto

    @invariant()
    def the_lines_are_what_the_runs_say(self) -> None:
        """Groups are sorted and complete, counts are right, and nothing is left over."""
        held = [run for run in (self.table.get(f"uid-{number}") for number in NUMBERS) if run is not None]
        lines = self.table.lines()
        assert set(lines) == {run.definition for run in held}
        for definition, line in lines.items():
            mine = [run for run in held if run.definition == definition]
            assert line.admitted == sum(run.phase is Phase.ADMITTED for run in mine)
            queued = [run for run in mine if run.phase is Phase.QUEUED]
            assert {key: list(group) for key, group in line.queued.items()} == {
                key: sorted((run for run in queued if run.depends_on == key), key=queue_key)
                for key in {run.depends_on for run in queued}
            }
        assert all(run.phase is not Phase.FINISHED for run in held)
        starting = {run.uid: run for run in self.table.starting()}
        assert starting == {run.uid: run for run in held if run.pending_start is not None}

    @invariant()
    def it_is_never_behind_what_the_watch_has_told(self) -> None:
        """What was told in order is known, or something later is: else a slot would be given away twice."""
        if self.told == len(self.log):
            for number in NUMBERS:
                uid = f"uid-{number}"
                true, held = self.truth.get(uid), self.table.get(uid)
                assert held == (None if true is None or true.phase is Phase.FINISHED else true)


TestRunTable = Cluster.TestCase
TestRunTable.settings = settings(max_examples=150, stateful_step_count=40)


def test_an_answer_counts_before_the_watch_shows_it() -> None:
    """A run just admitted holds its slot at once; the old news of it that follows changes nothing."""
    table = RunTable(Changes())
    table.replace([make_run(1)])
    table.update(make_run(1, version=3, phase=Phase.ADMITTED))
    table.put(make_run(1, version=2))
    line = table.lines()["a"]
    assert (dict(line.queued), line.admitted) == ({}, 1)


def test_an_answer_does_not_bring_back_a_run_that_is_gone() -> None:
    """Its deletion came first over the watch; the answer to our patch is older than that."""
    table = RunTable(Changes())
    table.replace([make_run(1)])
    table.remove(make_run(1, version=3))
    table.update(make_run(1, version=2, phase=Phase.ADMITTED))
    assert table.lines() == {}


def test_an_old_list_does_not_undo_an_answer() -> None:
    """A list that was made before our patch, and told after it, doesn't free the slot."""
    table = RunTable(Changes())
    table.replace([make_run(1)])
    table.update(make_run(1, version=3, phase=Phase.ADMITTED))
    table.replace([make_run(1)])
    assert table.lines()["a"].admitted == 1


def test_an_old_deletion_does_not_remove_what_came_back() -> None:
    """A run that lost its labels and got them back is there."""
    table = RunTable(Changes())
    table.replace([make_run(1)])
    table.put(make_run(1, version=5, phase=Phase.ADMITTED))
    table.remove(make_run(1, version=4))
    assert table.lines()["a"].admitted == 1


def test_changes_wake_a_waiting_reader_once() -> None:
    """News that came while nobody waited isn't lost, and isn't told twice."""
    changes = Changes()
    table = RunTable(changes)
    waking: list[Callable[[], None]] = [
        lambda: table.replace([make_run(1)]),
        lambda: table.put(make_run(2)),
        lambda: table.update(make_run(2, version=2)),
        lambda: table.remove(make_run(1)),
        changes.announce,
    ]
    for wake in waking:
        wake()
        assert changes.wait(0)
        assert not changes.wait(0)
    table.put(make_run(2, version=1))
    assert not changes.wait(0), "old news is no news"


def test_workloads_are_judged_by_name_over_all_tables() -> None:
    """A Deployment and a StatefulSet of one name are looked at together; one that is gone is not found."""
    changes = Changes()
    tables = [WorkloadTable(changes), WorkloadTable(changes)]
    deployment = Workload("Deployment", "db", 1, True, 1, 1, True, None)
    stateful_set = Workload("StatefulSet", "db", 1, True, 0, 1, None, None)
    tables[0].replace([deployment])
    assert ReadinessByName(tables)["db"].ready
    tables[1].put(stateful_set)
    assert not ReadinessByName(tables)["db"].ready
    tables[1].remove(stateful_set)
    assert ReadinessByName(tables)["db"].ready
    tables[0].replace([])
    assert ReadinessByName(tables)["db"].detail == "not found"
