"""What the dispatcher knows, whatever the order in which it hears of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.dispatcher.change_signal import ChangeSignal
from app.dispatcher.queues import _Group
from app.dispatcher.run_store import RunStore
from app.dispatcher.workload_store import WorkloadStore
from app.domain.run import DependsOn, PendingStart, Phase, Run, queue_key
from app.domain.workload import Workload
from tests.unit.dispatcher.runs import DEFINITIONS, DEPENDENCIES, WORKLOADS, make_run, store_of

NUMBERS = range(6)
SCHEDULES = ("nightly", "hourly")
AWAITED = PendingStart(0, 60, has_failed=False)


class Cluster(RuleBasedStateMachine):
    """A table against a cluster whose truth it hears of by a watch, by answers to its own calls, and by lists.

    The watch tells every change once and in order, but late; after a break it tells some again. Answers are told out
    of turn. A list is true for the moment at which it was made, which is past when it is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = RunStore(ChangeSignal())
        self.version = 0
        self.truth: dict[str, Run] = {}
        self.log: list[tuple[str, Run]] = []  # every change there was
        self.told = 0  # how much of the log the watch has told
        self.answers: list[Run] = []
        self.ready: set[str] = set()
        self.parked: set[str] = set()
        self.refused: frozenset[str] | None = frozenset()
        self.keys: dict[str, tuple[int, str]] = {}

    @initialize()
    def begin(self) -> None:
        """Start with nothing."""
        self.store.replace([], 0)

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
        deadline=st.sampled_from([None, 0, 1, 2]),
        schedule=st.sampled_from(["", *SCHEDULES]),
    )
    def change(
        self,
        number: int,
        definition: str,
        depends_on: DependsOn,
        queued_at: int,
        phase: Phase,
        awaits: bool,
        deadline: int | None,
        schedule: str,
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
            queue_deadline=deadline if phase is Phase.QUEUED else None,
            schedule=schedule,
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
            (self.store.remove if change == "DELETED" else self.store.put)(run)
            if self.store.get(run.uid) is None:  # it may come back with the next change, and is not parked then
                self.parked.discard(run.uid)
                self.keys.pop(run.uid, None)
        self.told = min(len(self.log), self.told + count)

    @rule(count=st.integers(1, 4))
    def break_off(self, count: int) -> None:
        """The watch begins again where it was a while ago; what it tells twice must do no harm."""
        self.told = max(0, self.told - count)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """The answer to a call of ours, as old or as new as any."""
        if self.answers:
            self.store.update(data.draw(st.sampled_from(self.answers)))

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
        self.store.replace(list(listed.values()), max((run.resource_version for _, run in self.log[:upto]), default=0))
        self.told = upto

    @rule(name=st.sampled_from(WORKLOADS), ready=st.booleans())
    def change_readiness(self, name: str, ready: bool) -> None:
        """A workload becomes ready, or ceases to be."""
        self.store.set_ready(name, ready)
        (self.ready.add if ready else self.ready.discard)(name)

    @rule(number=st.sampled_from(NUMBERS))
    def park(self, number: int) -> None:
        """The dispatcher leaves a run out."""
        uid = f"uid-{number}"
        if self.store.get(uid) is not None:
            self.store.park(uid)
            self.parked.add(uid)

    @rule(number=st.sampled_from(NUMBERS), at=st.one_of(st.none(), st.integers(0, 3)))
    def unpark(self, number: int, at: int | None) -> None:
        """The dispatcher lets a run in again, at its own place or at another one."""
        uid = f"uid-{number}"
        if uid in self.parked and self.store.get(uid) is not None:
            key = None if at is None else (at, f"run-{number:04}")
            self.store.unpark(uid, key)
            self.parked.discard(uid)
            if key is not None:
                self.keys[uid] = key

    @rule(refused=st.none() | st.frozensets(st.sampled_from(SCHEDULES)))
    def refuse(self, refused: frozenset[str] | None) -> None:
        """Definitions cease to allow what schedules ask for, allow it again, or nobody knows."""
        self.store.refuse_schedules(refused)
        self.refused = refused

    def refuses(self, run: Run) -> bool:
        """Whether a run is of a refused schedule."""
        return run.requested_schedule != "" and (self.refused is None or run.requested_schedule in self.refused)

    def is_excluded(self, run: Run) -> bool:
        """Whether a run is parked, or of a refused schedule."""
        return run.uid in self.parked or self.refuses(run)

    @invariant()
    def the_queues_are_what_the_runs_say(self) -> None:
        """Sorted and complete, counts are right, and nothing is left over."""
        held = [run for run in (self.store.get(f"uid-{number}") for number in NUMBERS) if run is not None]
        uids = {run.uid for run in held}
        self.parked &= uids
        self.keys = {uid: key for uid, key in self.keys.items() if uid in uids}
        assert set(self.store.definitions()) == {run.definition for run in held}
        for definition in DEFINITIONS:
            mine = [run for run in held if run.definition == definition]
            queued = [run for run in mine if run.phase is Phase.QUEUED]
            free = sorted((run for run in queued if not self.is_excluded(run)), key=self.key_of)
            assert self.store.active(definition) == sum(run.phase is Phase.ADMITTED for run in mine)
            assert self.store.queued(definition) == len(queued)
            assert list(self.store.startable_runs(definition)) == [run for run in free if self.is_ready(run)]
            assert list(self.store.blocked_runs(definition)) == [run for run in free if not self.is_ready(run)]
            assert {run.uid for run in self.store.excluded_runs(definition)} == {
                run.uid for run in queued if self.is_excluded(run)
            }
            assert all(self.store.may_start(run) == (self.is_ready(run) and not self.refuses(run)) for run in queued)
            assert (definition in self.store.startable()) == any(map(self.is_ready, free))
        assert all(run.phase is not Phase.FINISHED for run in held)
        for now in range(3):
            overdue = sorted(
                (run.queue_deadline, run.uid)
                for run in held
                if (run.queue_deadline or now) < now + 1 and run.queue_deadline is not None
            )
            assert [run.uid for run in self.store.overdue(now)] == [uid for _, uid in overdue]
        starting = {run.uid: run for run in self.store.starting()}
        assert starting == {run.uid: run for run in held if run.pending_start is not None}

    def is_ready(self, run: Run) -> bool:
        """Whether all that a run depends on is ready."""
        return run.depends_on is not None and set(run.depends_on) <= self.ready

    def key_of(self, run: Run) -> tuple[int, str]:
        """Where a run stands."""
        return self.keys.get(run.uid) or queue_key(run)

    @invariant()
    def it_is_never_behind_what_the_watch_has_told(self) -> None:
        """What was told in order is known, or something later is: else a slot would be given away twice."""
        if self.told == len(self.log):
            for number in NUMBERS:
                uid = f"uid-{number}"
                true, held = self.truth.get(uid), self.store.get(uid)
                assert held == (None if true is None or true.phase is Phase.FINISHED else true)


TestRunStore = Cluster.TestCase
TestRunStore.settings = settings(max_examples=settings.default.max_examples * 3 // 2, stateful_step_count=40)


def test_run_store__response__counts_before_the_watch_shows_it() -> None:
    """A run just admitted holds its slot at once; the old news of it that follows changes nothing."""
    store = RunStore(ChangeSignal())
    store.replace([make_run(1)], 1)
    store.update(make_run(1, version=3, phase=Phase.ADMITTED))
    store.put(make_run(1, version=2))
    assert (store.queued("a"), store.active("a")) == (0, 1)


def test_run_store__late_response__does_not_bring_back_a_deleted_run() -> None:
    """Its deletion came first over the watch; the answer to our patch is older than that."""
    store = RunStore(ChangeSignal())
    store.replace([make_run(1)], 1)
    store.remove(make_run(1, version=3))
    store.update(make_run(1, version=2, phase=Phase.ADMITTED))
    assert not list(store.definitions())


def test_run_store__older_list__does_not_undo_a_response() -> None:
    """A list that was made before our patch, and told after it, doesn't free the slot."""
    store = RunStore(ChangeSignal())
    store.replace([make_run(1)], 1)
    store.update(make_run(1, version=3, phase=Phase.ADMITTED))
    store.replace([make_run(1)], 1)
    assert store.active("a") == 1


def test_run_store__older_deletion__does_not_remove_a_run_that_came_back() -> None:
    """A run that lost its labels and got them back is there."""
    store = RunStore(ChangeSignal())
    store.replace([make_run(1)], 1)
    store.put(make_run(1, version=5, phase=Phase.ADMITTED))
    store.remove(make_run(1, version=4))
    assert store.active("a") == 1


def test_replace__believes_a_list_that_is_older_than_what_was_known() -> None:
    """Etcd has been restored: versions have gone back, and whoever asks is told."""
    rewound: list[bool] = []
    store = RunStore(ChangeSignal(), on_rewind=lambda: rewound.append(True))
    store.replace([make_run(1, version=7, phase=Phase.ADMITTED)], 9)
    assert not rewound
    store.replace([make_run(1, version=3)], 5)
    assert (store.queued("a"), store.active("a")) == (1, 0)
    assert rewound


def test_replace__believes_older_runs_in_a_newer_list() -> None:
    """A restore can leave the list's own version ahead of everything that was known."""
    store = RunStore(ChangeSignal())
    store.replace([make_run(1, version=7, phase=Phase.ADMITTED)], 9)
    store.replace([make_run(1, version=3)], 5000)
    assert (store.queued("a"), store.active("a")) == (1, 0)


def test_startable_runs__leaves_out_what_is_held_or_managed_elsewhere() -> None:
    """Both are queued, and neither is ours to start."""
    runs = [replace(make_run(1), held=True), replace(make_run(2), managed_elsewhere=True), make_run(3)]
    store = store_of(runs)
    assert [run.name for run in store.startable_runs("a")] == ["run-0003"]
    assert store.queued("a") == 3
    assert [store.may_start(run) for run in runs] == [False, False, True]


def test_set_ready__costs_what_changes() -> None:
    """Of a thousand runs that each wait for something else, one changes its group."""
    runs = [make_run(number, depends_on=(f"db-{number}", "shared")) for number in range(1000)]
    store = store_of(runs, ready=[f"db-{number}" for number in range(0, 1000, 2)])
    moved: list[str | None] = []
    first_unready = store._first_unready

    def count(depends_on: DependsOn) -> str | None:
        moved.append(first_unready(depends_on))
        return moved[-1]

    store._first_unready = count  # type: ignore[method-assign]
    store.set_ready("db-7", ready=True)
    assert moved == ["shared"]
    store.set_ready("db-7", ready=False)
    assert moved == ["shared"], "a run that is blocked by something else need not be looked at"


def test_set_ready__moves_no_group_that_stays_blocked() -> None:
    """To move one in the order of the blocked groups costs as much as there are groups."""
    store = store_of([make_run(number, depends_on=("db", f"own-{number}")) for number in range(100)])
    moved: list[object] = []
    index = store._index

    def count(group: _Group) -> None:
        moved.append(group)
        index(group)

    store._index = count  # type: ignore[method-assign]
    store.set_ready("db", ready=True)
    assert not moved
    assert [run.name for run in store.blocked_runs("a")] == [f"run-{number:04}" for number in range(100)]
    store.set_ready("own-7", ready=True)
    assert len(moved) == 1
    assert [run.name for run in store.startable_runs("a")] == ["run-0007"]


def test_signal__wakes_a_waiting_reader_once() -> None:
    """A change that came while nobody waited isn't lost; an old one is no change."""
    signal = ChangeSignal()
    store = RunStore(signal)
    waking: list[Callable[[], None]] = [
        lambda: store.replace([make_run(1)], 1),
        lambda: store.put(make_run(2)),
        lambda: store.update(make_run(2, version=2)),
        lambda: store.remove(make_run(1)),
        signal.notify,
    ]
    for wake in waking:
        wake()
        assert signal._event.is_set()
        signal.wait(0)
        assert not signal._event.is_set()
    store.put(make_run(2, version=1))
    assert not signal._event.is_set()


def test_workload_store__reports_every_name_that_has_changed() -> None:
    """Also one that is gone."""
    changed: list[str] = []
    store = WorkloadStore(ChangeSignal(), changed.append)
    deployment = Workload("Deployment", "db", 1, True, 1, 1, True, None)
    store.replace([deployment], 1)
    store.put(deployment)
    store.remove(deployment)
    store.remove(deployment)
    assert changed == ["db", "db", "db"]
    assert store.get("db") is None


def test_put__keeps_equal_lists_of_dependencies_once() -> None:
    """10,000 runs with long lists have to fit into the memory of the pod."""
    store = RunStore(ChangeSignal())
    names = ["a" * 200, "b" * 200]
    for number in range(3):
        store.put(make_run(number, depends_on=(*names,)))
    lists = [found.depends_on for number in range(3) if (found := store.get(f"uid-{number}"))]
    assert len(lists) == 3
    assert all(one is lists[0] for one in lists)


@pytest.mark.parametrize("refused", [None, frozenset(), frozenset({"a-x"}), frozenset({"a-x", "a-y"})])
def test_first_queued__has_the_first_ones_of_each_schedule(refused: frozenset[str] | None) -> None:
    """Whichever schedules another dispatcher left out: the first ones of all others are among them."""
    schedules = ("", "a-x", "a-y", "a-z")
    runs = [make_run(number, schedule=schedules[number // 5]) for number in range(20)]
    store = store_of(runs)
    with store._signal.lock:
        store.refuse_schedules(refused)
    found = {run.uid for run in store.first_queued(2)}
    assert found == {f"uid-{number}" for number in range(20) if number % 5 < 2}
