"""Each broken promise is counted, in a history built for it."""

from dataclasses import replace
from itertools import count

import pytest

from tests.chaos.callers import CallRecord
from tests.chaos.history import NOBODY, Branch, LeaseVersion, PodVersion, RunVersion, Version, WorkloadVersion
from tests.chaos.invariants import NOTICED_SECONDS, Counts, check_invariants

SLOTS = {"one": 1, "two": 2}


class HistoryBuilder:
    """Builds a history of revisions that are one second apart."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.branches: list[Branch] = []
        self.records: list[CallRecord] = []
        self.now = 0.0
        self._revisions = count(1)
        self._last: dict[str, RunVersion] = {}

    def _base(self, name: str) -> dict[str, object]:
        self.now += 1.0
        return {"revision": next(self._revisions), "seen_at": self.now, "name": name}

    def call(self, mark: str, *answers: str, definition: str = "one", keyed: bool = True, in_doubt: int = 0) -> None:
        """Add a call and the run names of its responses."""
        asked_at = dict.fromkeys(answers, self.now)
        self.records.append(CallRecord(mark, definition, keyed, list(answers), asked_at, in_doubt=in_doubt))

    def run(self, name: str, definition: str = "one", mark: str = "", depends_on: tuple[str, ...] = ()) -> None:
        """Create a suspended run."""
        created = RunVersion(
            **self._base(name),  # type: ignore[arg-type]
            uid=f"uid-{len(self.versions)}",
            definition=definition,
            mark=mark or f"call-{name}",
            depends_on=depends_on,
            suspended=True,
        )
        self._record(created)

    def change(self, name: str, **fields: object) -> None:
        """Update a run."""
        self._record(replace(self._last[name], **(self._base(name) | fields)))  # type: ignore[arg-type]

    def start(self, name: str) -> None:
        """Admit a run."""
        self.change(name, suspended=False)

    def end(self, name: str) -> None:
        """Complete a run."""
        self.change(name, end="Complete")

    def delete(self, name: str) -> None:
        """Delete a run."""
        self.versions.append(RunVersion(**self._base(name), gone=True))  # type: ignore[arg-type]

    def pod(self, name: str, run: str, *, alive: bool = True, definition: str = "one") -> None:
        """Create or update a pod of a run."""
        self.versions.append(PodVersion(**self._base(name), run=run, definition=definition, alive=alive))  # type: ignore[arg-type]

    def set_ready(self, name: str, *, ready: bool) -> None:
        """Update a Deployment."""
        self.versions.append(WorkloadVersion(**self._base(name), ready=ready))  # type: ignore[arg-type]

    def elect(self, holder: str) -> None:
        """Update the Lease."""
        self.versions.append(LeaseVersion(**self._base("lease"), holder=holder))  # type: ignore[arg-type]

    def _record(self, version: RunVersion) -> None:
        self._last[version.name] = version
        self.versions.append(version)

    def count(self) -> Counts:
        """Check the invariants."""
        return check_invariants([*self.branches, Branch(tuple(self.versions))], self.records, SLOTS)

    def snapshot(self) -> int:
        """Return the last revision."""
        return self.versions[-1].revision

    def restore(self, revision: int) -> None:
        """Restore etcd to what it held at a revision."""
        self.now += 1.0
        self.branches.append(Branch(tuple(self.versions), ended_at=self.now))
        self.versions = [version for version in self.versions if version.revision <= revision]
        self._revisions = count(revision + 1)
        self._last = {version.name: version for version in self.versions if isinstance(version, RunVersion)}


@pytest.fixture
def history() -> HistoryBuilder:
    """Provide a history without violations, to which tests add theirs."""
    history = HistoryBuilder()
    history.elect("a")
    history.set_ready("database", ready=True)
    for name in ("first", "second"):
        history.call(f"call-{name}", name)
        history.run(name, depends_on=("database",))
        history.start(name)
        history.pod(f"{name}-pod", name)
        history.pod(f"{name}-pod", name, alive=False)
        history.end(name)
    assert not history.count().broken
    assert history.count().accepted == 2
    assert history.count().most_active == history.count().most_with_pods == {"one": 1, "two": 0}
    return history


def test_lost__counts_an_accepted_run_that_was_never_stored(history: HistoryBuilder) -> None:
    history.call("call-third", "third")
    assert len(history.count().lost) == 1


def test_lost__counts_a_run_that_never_started(history: HistoryBuilder) -> None:
    history.call("call-third", "third")
    history.run("third")
    assert len(history.count().lost) == 1


def test_lost__counts_a_run_that_never_ended(history: HistoryBuilder) -> None:
    history.call("call-third", "third")
    history.run("third")
    history.start("third")
    assert len(history.count().lost) == 1


def test_lost__counts_a_run_that_failed(history: HistoryBuilder) -> None:
    """Every container of the suite exits with 0."""
    history.call("call-third", "third")
    history.run("third")
    history.start("third")
    history.change("third", end="Failed")
    assert len(history.count().lost) == 1


def test_lost__counts_a_deleted_run(history: HistoryBuilder) -> None:
    """No caller deletes runs, not even ended ones."""
    history.delete("second")
    assert len(history.count().lost) == 1


def test_lost__counts_a_response_with_the_run_of_another_call(history: HistoryBuilder) -> None:
    history.call("call-third", "first")
    assert len(history.count().lost) == 1


def test_doubled__counts_a_call_that_created_two_runs(history: HistoryBuilder) -> None:
    history.run("again", mark="call-first")
    assert len(history.count().doubled) == 1


def test_doubled__counts_a_call_whose_responses_name_two_runs(history: HistoryBuilder) -> None:
    history.records[0].accepted.append("second")
    assert len(history.count().doubled) == 1


def test_doubled__counts_a_run_that_was_started_twice(history: HistoryBuilder) -> None:
    history.call("call-third", "third")
    history.run("third")
    history.start("third")
    history.change("third", suspended=True)
    history.start("third")
    history.end("third")
    assert len(history.count().doubled) == 1


def test_doubled__counts_a_name_that_was_used_twice(history: HistoryBuilder) -> None:
    """A late create can reuse the name of a run that has ended and been deleted."""
    history.delete("first")
    history.run("first")
    assert len(history.count().doubled) == 1


def test_doubled__counts_a_run_that_no_call_created(history: HistoryBuilder) -> None:
    history.run("stray")
    assert len(history.count().doubled) == 1


def test_doubled__permits_one_run_of_an_abandoned_call_without_key(history: HistoryBuilder) -> None:
    history.call("call-third", keyed=False, in_doubt=1)
    assert not history.count().broken
    history.run("third")
    assert not history.count().broken
    assert history.count().stored_in_doubt == 1
    history.run("again", mark="call-third")
    assert len(history.count().doubled) == 1


def test_over__counts_active_runs_per_definition(history: HistoryBuilder) -> None:
    for name in ("third", "fourth"):
        history.call(f"call-{name}", name)
        history.run(name, definition="two")
        history.start(name)
    assert not history.count().over
    for name in ("fifth", "sixth"):
        history.call(f"call-{name}", name)
        history.run(name)
        history.start(name)
    assert len(history.count().over) == 1
    assert history.count().most_active == {"one": 2, "two": 2}


def test_over__slot_is_free_only_after_the_end_of_its_run(history: HistoryBuilder) -> None:
    """The revisions decide, not the order of the arguments."""
    history.run("third")
    history.start("third")
    history.run("fourth")
    history.end("third")
    history.start("fourth")
    assert not history.count().over
    early, late = history.versions[-2:]
    history.versions[-2:] = [replace(early, revision=late.revision), replace(late, revision=early.revision)]
    assert len(history.count().over) == 1


def test_over__counts_runs_whose_pods_are_alive(history: HistoryBuilder) -> None:
    """Two pods of one run count once, because Kubernetes permits them."""
    history.pod("third-a", "first")
    history.pod("third-b", "first")
    assert not history.count().over
    assert len(history.count().more_pods) == 1
    history.pod("fourth-a", "second")
    assert len(history.count().over) == 1


def test_early__counts_a_start_before_a_dependency_was_ever_ready(history: HistoryBuilder) -> None:
    """A dependency that does not exist is not ready."""
    for name, dependency in (("third", "queue"), ("fourth", "nothing")):
        history.call(f"call-{name}", name)
        history.set_ready("queue", ready=False)
        history.run(name, depends_on=("database", dependency))
        history.start(name)
        history.end(name)
    assert len(history.count().early) == 2


def test_early__counts_a_start_if_the_dependency_was_unready_at_the_election(history: HistoryBuilder) -> None:
    history.run("third", depends_on=("database",))
    history.set_ready("database", ready=False)
    history.elect("b")
    history.start("third")
    assert len(history.count().early) == 1


def test_early__counts_a_start_if_the_dependency_was_unready_for_longer_than_a_watch_may_be_silent(
    history: HistoryBuilder,
) -> None:
    history.run("third", depends_on=("database",))
    history.set_ready("database", ready=False)
    history.now += NOTICED_SECONDS
    history.start("third")
    assert len(history.count().early) == 1


def test_stale_starts__counts_a_start_shortly_after_a_dependency_became_unready(history: HistoryBuilder) -> None:
    """A renewed Lease is no election, and a dependency that is ready again is ready."""
    history.run("third", depends_on=("database",))
    history.run("fourth", depends_on=("database",))
    history.set_ready("database", ready=False)
    history.elect("a")
    history.start("third")
    history.end("third")
    assert not history.count().early
    assert history.count().stale_starts == (1, 2.0)
    history.elect("b")
    history.set_ready("database", ready=True)
    history.start("fourth")
    assert not history.count().early


def test_restore__undoes_what_was_stored_after_its_snapshot(history: HistoryBuilder) -> None:
    """A run that was accepted meanwhile is not lost by the service."""
    snapshot = history.snapshot()
    history.call("call-third", "third")
    history.run("third")
    history.start("third")
    history.restore(snapshot)
    assert not history.count().broken
    assert (history.count().undone, history.count().restores, history.count().accepted) == (["third"], 1, 3)


def test_restore__undoes_no_start_twice(history: HistoryBuilder) -> None:
    """A run that was started after the snapshot is started again, and that counts once."""
    history.call("call-third", "third")
    history.run("third")
    snapshot = history.snapshot()
    history.start("third")
    history.end("third")
    history.restore(snapshot)
    assert len(history.count().lost) == 1
    history.start("third")
    history.end("third")
    assert not history.count().broken
    assert history.count().undone == []


def test_lost__counts_a_run_that_was_promised_after_the_restore_that_undid_it(history: HistoryBuilder) -> None:
    snapshot = history.snapshot()
    history.run("third")
    history.restore(snapshot)
    history.call("call-third", "third")
    assert len(history.count().lost) == 1


def test_lost__counts_a_run_that_no_branch_has(history: HistoryBuilder) -> None:
    history.call("call-third", "third")
    history.restore(history.snapshot())
    assert len(history.count().lost) == 1


def test_over__counts_what_was_active_before_and_after_a_restore(history: HistoryBuilder) -> None:
    """What a restore undid holds no slot any more, but it counts until then."""
    snapshot = history.snapshot()
    for name in ("third", "fourth"):
        history.call(f"call-{name}", name)
        history.run(name)
        history.start(name)
    history.restore(snapshot)
    assert len(history.count().over) == 1
    history.branches.clear()
    history.records[2:] = []
    history.call("call-fifth", "fifth")
    history.run("fifth")
    history.start("fifth")
    assert not history.count().over


def test_doubled__counts_a_start_that_a_restore_undid(history: HistoryBuilder) -> None:
    snapshot = history.snapshot()
    history.call("call-third", "third")
    history.run("third")
    history.start("third")
    history.change("third", suspended=True)
    history.start("third")
    history.restore(snapshot)
    assert len(history.count().doubled) == 1


def test_leaders__counts_each_election_once(history: HistoryBuilder) -> None:
    """Neither a restore nor an edit by hand elects anybody."""
    history.elect("b")
    history.restore(history.snapshot())
    history.elect(NOBODY)
    history.elect("b")
    assert history.count().leaders == 2
